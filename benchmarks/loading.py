"""How many images a second one core reads and augments for detection, beside torchvision v2.

    python benchmarks/loading.py root=DATA/coco_mini split=train2017
    python benchmarks/loading.py root=DATA/coco_mini split=train2017 --shares

Both read the same JPEGs and end with a uint8 tensor of 320 x 320 and its boxes: ours as the loader's workers do it (the
SSD recipe of conf/augment/ssd.yaml), theirs as torchvision's references/detection/presets.py with its tensor backend
("ssd" is the same recipe, "ssdlite" only crops and mirrors, as ours does where it says so), and the resize that its
detectors do inside of the model.
All take turns, on one thread; what is reported are medians of CPU time, as other programs disturb clocks on walls.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import torch
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

from mnv2dense.data import DataModule
from mnv2dense.data.augment import DetectionAugment
from mnv2dense.data.datasets import CocoDetection
from mnv2dense.data.sampler import Draw

SIZE = (320, 320)
IMAGENET_MEAN = (123.0, 117.0, 104.0)

# One image of the data set, of one epoch.
Load = Callable[[int, int], object]


def main() -> None:
    """Measure and print a table; with --shares also where the time of ours goes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="root=FOLDER of a data set of COCO's form")
    parser.add_argument("split", help="split=NAME of its annotations and of its folder of images")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--images", type=int, default=128, help="of each round")
    parser.add_argument("--shares", action="store_true", help="profile ours")
    arguments = parser.parse_args()
    root, split = (
        value.removeprefix(f"{name}=") for name, value in vars(arguments).items() if name in ("root", "split")
    )
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    again = partial(CocoDetection, root=root, split=split, limit=arguments.images)  # a cache belongs to one
    data = again()
    ways = {
        "torchvision v2, ssd": _theirs(data, "ssd"),
        "torchvision v2, ssdlite": _theirs(data, "ssdlite"),
        "JPEG decode alone": lambda image, epoch: cv2.imread(str(data.paths[image])),
        "ours, reduced_decode=False": _ours(data, reduced_decode=False),
        "ours": _ours(data),
        "ours, cache=ram": _ours(again(), cache="ram"),
        "ours, as ssdlite": _ours(data, as_ssdlite=True),
        "ours, as ssdlite, cache=ram": _ours(again(), as_ssdlite=True, cache="ram"),
    }
    rates = _take_turns(ways, len(data), arguments.rounds)
    print(f"{len(data)} images a round, {arguments.rounds} rounds\n")
    print("| way | images/s | times ssd | times ssdlite |\n| --- | ---: | ---: | ---: |")
    for name, rate in rates.items():
        ratios = [_ratio(rate, rates[f"torchvision v2, {recipe}"]) for recipe in ("ssd", "ssdlite")]
        print(f"| {name} | {statistics.median(rate):.0f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    if arguments.shares:
        for name, way in ways.items():
            if name == "ours":
                print(f"\n{name}:")
                _profile(way, len(data))


def _ours(data: CocoDetection, *, as_ssdlite: bool = False, **options: Any) -> Load:  # noqa: ANN401 - of the loader
    chance = 0.0 if as_ssdlite else 0.5
    augment = DetectionAugment(photometric_probability=chance, zoom_out_probability=chance)
    module = DataModule(train=data, val=None, augment=augment, size=SIZE, num_workers=0, seed=0, **options)
    images = module.train_dataloader().dataset
    return lambda image, epoch: images[Draw(epoch, image)]


def _theirs(data: CocoDetection, recipe: str) -> Load:
    # Masks aside, what DetectionPresetTrain(data_augmentation=recipe, backend="tensor", use_v2=True) composes; left in
    # uint8, as ours is, where it ends with floats.
    distort = [v2.RandomPhotometricDistort(), v2.RandomZoomOut(fill=defaultdict(lambda: IMAGENET_MEAN))]
    transforms = v2.Compose(
        [
            *(distort if recipe == "ssd" else []),
            v2.RandomIoUCrop(),
            v2.RandomHorizontalFlip(),
            v2.Resize(SIZE),
            v2.SanitizeBoundingBoxes(),
            v2.ToPureTensor(),
        ]
    )
    truths = []
    for image in range(len(data)):
        sample = data[image]
        truths.append((sample.boxes, torch.from_numpy(sample.labels), sample.image.shape[:2]))

    def load(image: int, _: int) -> object:
        pixels = decode_jpeg(read_file(str(data.paths[image])), mode=ImageReadMode.RGB)
        boxes, labels, size = truths[image]
        target = {
            "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size),
            "labels": labels,
        }
        return transforms(tv_tensors.Image(pixels), target)

    return load


def _take_turns(ways: dict[str, Load], images: int, rounds: int) -> dict[str, list[float]]:
    """Images per second of CPU time, of each round."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1, rounds):  # the first round fills caches
        torch.manual_seed(number)  # torchvision's; ours go by the epoch
        for name, load in ways.items():
            begun = time.process_time()
            for image in range(images):
                load(image, number + 1)
            if number >= 0:
                rates[name].append(images / (time.process_time() - begun))
    return rates


def _ratio(rates: list[float], yardstick: list[float]) -> float:
    """The median of what each round says, as its neighbours slow both alike."""
    return statistics.median(rate / other for rate, other in zip(rates, yardstick, strict=True))


def _profile(way: Load, images: int) -> None:
    profile = cProfile.Profile(time.process_time)
    profile.enable()
    for epoch in range(3):
        for image in range(images):
            way(image, epoch)
    profile.disable()
    pstats.Stats(profile).sort_stats("tottime").print_stats(28)


if __name__ == "__main__":
    main()
