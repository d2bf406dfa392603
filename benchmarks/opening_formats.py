"""What opening a large data set costs in formats other than COCO's boxes: time and memory, at first and later.

    python benchmarks/opening_formats.py
    python benchmarks/opening_formats.py --formats voc yolo --images 10000 --rounds 1

Data of each format are made in a folder for the while: xml files of VOC, label files of YOLO, masks in a folder (one
mask under many names), outlines and panoptic segments in a json of COCO's kind. Each opening is a process of its own.
Reported are medians of processor seconds and of the memory that the data set itself added to the process, without what
is mapped from files.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HOME = Path(__file__).absolute().parent.parent
CLASSES = ("cat", "dog", "person", "car", "chair")
SIZE = (480, 640)  # height, width


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", nargs="+", choices=list(MAKERS), default=list(MAKERS))
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--step", nargs=2, metavar=("FORMAT", "ROOT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(_opened(*arguments.step)))
        return
    print(f"{arguments.images:,} images of each format; medians of {arguments.rounds}\n")
    print("| opening | without index: CPU s | first | later | without index: MB | later |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in arguments.formats:
        with tempfile.TemporaryDirectory(prefix="mnv2dense-formats-") as place:
            root = Path(place)
            MAKERS[name](root, arguments.images, np.random.default_rng(0))
            told: dict[str, list[dict[str, float]]] = {way: [] for way in ("without", "first", "later")}
            for _ in range(arguments.rounds):
                shutil.rmtree(root / "cache", ignore_errors=True)
                for way, each in told.items():
                    each.append(_step(name, root, with_index=way != "without"))
        cpu, own = ({way: statistics.median(one[key] for one in each) for way, each in told.items()} for key in KEYS)
        print(
            f"| {name} | {cpu['without']:.2f} | {cpu['first']:.2f} | {cpu['later']:.2f} | {own['without']:.0f} | "
            f"{own['later']:.0f} |"
        )


KEYS = ("cpu", "own")


def _step(name: str, root: Path, *, with_index: bool) -> dict[str, float]:
    environment = {**os.environ, "MNV2DENSE_CACHE": str(root / "cache"), "PYTHONPATH": str(HOME)}
    environment["MNV2DENSE_ANNOTATION_INDEX"] = "on" if with_index else "off"
    typed = [sys.executable, str(Path(__file__).absolute()), "--step", name, str(root)]
    done = subprocess.run(typed, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def _opened(name: str, root: str) -> dict[str, float]:
    from mnv2dense.data import datasets

    openers: dict[str, Callable[[], object]] = {
        "voc": lambda: datasets.VocDetection(root=root),
        "yolo": lambda: datasets.YoloDetection(root=root),
        "mask_folder": lambda: datasets.MaskFolder(root=root, split="train", class_names=["ground", *CLASSES]),
        "coco_masks": lambda: datasets.CocoMasks(root=root),
        "coco_panoptic": lambda: datasets.PanopticMasks(root=root),
    }
    before, start = _anonymous_megabytes(), time.process_time()
    data = openers[name]()
    seconds = time.process_time() - start
    told = {"cpu": seconds, "own": _anonymous_megabytes() - before}
    del data
    return told


def _anonymous_megabytes() -> float:
    """Memory that is of no file (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def _make_voc(root: Path, images: int, rng: np.random.Generator) -> None:
    names = [f"{number:06d}" for number in range(images)]
    _pictures(root / "JPEGImages", names)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("\n".join(names))
    (root / "Annotations").mkdir()
    for name in names:
        boxes = rng.integers(1, 200, (int(rng.integers(1, 5)), 5)).tolist()
        objects = "".join(
            f"\n\t<object>\n\t\t<name>{CLASSES[label % 5]}</name>\n\t\t<pose>Left</pose>\n"
            f"\t\t<truncated>0</truncated>\n\t\t<difficult>0</difficult>\n\t\t<bndbox>\n\t\t\t<xmin>{x}</xmin>\n\t\t\t<ymin>{y}</ymin>\n"
            f"\t\t\t<xmax>{x + width}</xmax>\n\t\t\t<ymax>{y + height}</ymax>\n\t\t</bndbox>\n\t</object>"
            for x, y, width, height, label in boxes
        )
        size = f"<size>\n\t\t<width>{SIZE[1]}</width>\n\t\t<height>{SIZE[0]}</height>\n\t\t<depth>3</depth>\n\t</size>"
        text = f"<annotation>\n\t<folder>VOC2007</folder>\n\t<filename>{name}.jpg</filename>\n\t{size}{objects}\n"
        (root / "Annotations" / f"{name}.xml").write_text(f"{text}</annotation>\n")


def _make_yolo(root: Path, images: int, rng: np.random.Generator) -> None:
    names = [f"{number:06d}" for number in range(images)]
    _pictures(root / "images" / "train", names)
    (root / "labels" / "train").mkdir(parents=True)
    (root / "classes.txt").write_text("\n".join(CLASSES))
    for name in names:
        count = int(rng.integers(1, 13))
        rows = np.concatenate([rng.uniform(0.3, 0.7, (count, 2)), rng.uniform(0.01, 0.5, (count, 2))], axis=1).tolist()
        text = "".join(f"{int(50 * x) % 5} {x:.6f} {y:.6f} {width:.6f} {height:.6f}\n" for x, y, width, height in rows)
        (root / "labels" / "train" / f"{name}.txt").write_text(text)


def _make_mask_folder(root: Path, images: int, rng: np.random.Generator) -> None:
    names = [f"{number:06d}" for number in range(images)]
    _pictures(root / "train", names)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    mask = np.zeros(SIZE, np.uint8)
    for label in range(12):
        x, y, width, height = rng.uniform((0, 0, 20, 20), (SIZE[1], SIZE[0], 150, 150))
        mask[((columns - x) / width) ** 2 + ((rows - y) / height) ** 2 < 1] = label % 6
    Image.fromarray(mask).save(root / "mask.png")
    _linked(root / "mask.png", root / "trainannot", (f"{name}.png" for name in names))


def _make_outlines(root: Path, images: int, rng: np.random.Generator) -> None:
    from annotation_index import make  # type: ignore[import-not-found,unused-ignore]  # beside this file

    make(root, images=images, objects=7 * images)


def _make_panoptic(root: Path, images: int, rng: np.random.Generator) -> None:
    folder = root / "annotations" / "panoptic_train2017"
    _pictures(root / "train2017", [f"{number:012d}" for number in range(images)])
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(root / "mask.png")
    _linked(root / "mask.png", folder, (f"{number:012d}.png" for number in range(images)))
    rows: list[dict[str, Any]] = []
    for number in range(images):
        ids = (rng.choice(2**24 - 1, int(rng.integers(3, 20)), replace=False) + 1).tolist()
        box = {"bbox": [10, 20, 300, 200], "area": 23456, "iscrowd": 0}
        segments = [{"id": id_, "category_id": id_ % 133 + 1, **box} for id_ in ids]
        rows.append({"segments_info": segments, "file_name": f"{number:012d}.png", "image_id": number})
    content = {
        "images": [{"id": number, "file_name": f"{number:012d}.jpg"} for number in range(images)],
        "annotations": rows,
        "categories": [{"id": number, "name": f"class {number}"} for number in range(1, 134)],
    }
    (root / "annotations" / "panoptic_train2017.json").write_text(json.dumps(content))


def _pictures(folder: Path, names: Iterable[str]) -> None:
    """One JPEG under these names."""
    folder.mkdir(parents=True)
    first = folder.parent / "picture.jpg"
    Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(first)
    _linked(first, folder, (f"{name}.jpg" for name in names))


def _linked(first: Path, folder: Path, names: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        if number % 30_000 == 0:  # file systems limit the names of a file
            shutil.copy(first, folder / name)
            first = folder / name
        else:
            os.link(first, folder / name)


MAKERS: dict[str, Callable[[Path, int, np.random.Generator], None]] = {
    "voc": _make_voc,
    "yolo": _make_yolo,
    "mask_folder": _make_mask_folder,
    "coco_masks": _make_outlines,
    "coco_panoptic": _make_panoptic,
}


if __name__ == "__main__":
    main()
