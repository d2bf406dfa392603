"""How many planted copies, leaks, broken images and odd masks tools/doctor.py finds, and how many that are none.

    python benchmarks/planted_copies.py /path/to/data

The tables of docs/doctor.md. The folder holds bccd, VOCdevkit, camvid and coco_mini; of each kind 5% of the training
images are planted.
"""

from __future__ import annotations

import functools
import io
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import numpy.typing as npt
from PIL import Image

from mnv2dense.data.datasets import CocoDetection, MaskFolder, VocDetection
from mnv2dense.data.datasets.image_table import ImageTable
from mnv2dense.data.datasets.mask_png import MaskRules, read_mask
from mnv2dense.data.datasets.mask_table import MaskTable
from mnv2dense.doctor.examination import ModelInput, examine
from mnv2dense.doctor.suspect import Suspect
from mnv2dense.io.reading import Undecoded, read_image
from mnv2dense.protocols import Dataset
from mnv2dense.types import Sample

Change = Callable[[Image.Image, np.random.Generator], Image.Image]

COPIES: dict[str, Change] = {
    "stored again": lambda image, rng: image,
    "resized": lambda image, rng: _resized(image, float(rng.uniform(0.5, 0.9))),
    "turned": lambda image, rng: image.rotate(int(rng.integers(1, 4)) * 90, expand=True),
    "mirrored": lambda image, rng: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "all at once": lambda image, rng: _all_at_once(image, rng),
}
"""What is done to a copy before it is stored as JPEG of quality 60 to 90."""

CUTS: dict[str, Change] = {"cut": lambda image, rng: _cut(image, rng.uniform(0, 0.05, 4))}
"""A copy that is said to be nearly the same: up to 5% is cut off at each side."""

Mask = npt.NDArray[np.uint8]

MASKS: dict[str, Callable[[Mask, np.random.Generator, int], Mask]] = {
    "other size": lambda mask, rng, classes: mask[::2, ::2],
    "value outside": lambda mask, rng, classes: _with_spot(mask, rng, classes + 7),
    "one class": lambda mask, rng, classes: np.full_like(mask, np.bincount(mask.reshape(-1)).argmax()),
    "all ignored": lambda mask, rng, classes: np.full_like(mask, 255),
    "stored as JPEG": lambda mask, rng, classes: np.minimum(_through_jpeg(mask), classes).astype(np.uint8),
    "specks": lambda mask, rng, classes: _with_specks(mask, rng, classes),
}
"""What is wrong with a mask."""

BROKEN: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "cut off": lambda data, rng: data[: int(len(data) * rng.uniform(0.1, 0.95))],
    "0 bytes": lambda data, rng: b"",
    "a web page": lambda data, rng: b"<!doctype html><title>404</title>",
}
"""What is wrong with a file."""


@final
class Pictures(ImageTable):
    """Files alone, all of one class."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__(source="planted", class_names=("any",), image_ids=range(len(paths)), paths=paths)

    def labels_of(self, index: int) -> list[int]:
        """The one class."""
        return [0]

    def __getitem__(self, index: int) -> Sample:
        sample, image = self.opened(index)
        return sample._replace(image=image.decode(1)[0])

    def opened(self, index: int) -> tuple[Sample, Undecoded]:
        """The sample without its pixels, and what gives them."""
        image = self.opened_image(index)
        return Sample(image.stand_in(), None, np.zeros(1, np.int64), None, index, self.paths[index]), image


class Outcome(NamedTuple):
    """Of one kind of planted fault.

    Attributes:
        planted: how many.
        found: how many of them are among the suspects.
        precision: of the first so many suspects, as sure as they are, the share that were planted.
        false: suspects of the kind that were not planted, and are not in the clean set either.
    """

    planted: int
    found: int
    precision: float
    false: int


def with_copies(
    train: Sequence[Path],
    val: Sequence[Path],
    folder: Path,
    *,
    share: float,
    changes: Mapping[str, Change] = COPIES,
    seed: int = 0,
) -> tuple[dict[str, Dataset], dict[str, dict[str, Path]]]:
    """Splits with copies of training images among those of training, and others among those of validation.

    Returns:
        The splits; and kind ("duplicate", "leak") and change, as in "leak, turned" -> planted file -> its source.
    """
    rng = np.random.default_rng(seed)
    count = max(1, round(share * len(train)))
    planted: dict[str, dict[str, Path]] = {}
    added: dict[str, list[Path]] = {"duplicate": [], "leak": []}
    order = iter(rng.permutation(len(train)).tolist() * 2)
    for kind, files in added.items():
        for change, make in changes.items():
            own = planted[f"{kind}, {change}"] = {}
            for _ in range(count):
                source = train[next(order)]
                path = folder / f"{kind}_{len(files):05}.jpg"
                copy = make(Image.fromarray(read_image(source)), rng)
                copy.save(path, "JPEG", quality=int(rng.integers(60, 91)))
                files.append(path)
                own[str(path)] = source
    splits: dict[str, Dataset] = {
        "train": Pictures([*train, *added["duplicate"]]),
        "val": Pictures([*val, *added["leak"]]),
    }
    return splits, planted


def with_broken(
    train: Sequence[Path], folder: Path, *, share: float, seed: int = 0
) -> tuple[Dataset, dict[str, set[str]]]:
    """A split some of whose files are broken; and kind -> those files."""
    rng = np.random.default_rng(seed)
    places = rng.permutation(len(train))
    count = max(1, round(share * len(train)))
    paths, planted = list(train), defaultdict(set)
    for number, (kind, make) in enumerate(BROKEN.items()):
        for place in places[number * count : (number + 1) * count].tolist():
            path = folder / f"broken_{place:05}.jpg"
            path.write_bytes(make(train[place].read_bytes(), rng))
            paths[place] = path
            planted[kind].add(str(path))
    return Pictures(paths), planted


def with_odd_masks(
    data: MaskFolder, folder: Path, *, share: float, ignored: Sequence[int] = (), seed: int = 0
) -> tuple[Dataset, dict[str, set[str]]]:
    """A split of masks some of which are odd; and kind -> the images whose masks they are."""
    rng = np.random.default_rng(seed)
    places = rng.permutation(len(data))
    count = max(1, round(share * len(data)))
    classes = len(data.class_names)
    masks: list[Path] = []
    kind_of = {
        place: kind
        for number, kind in enumerate(MASKS)
        for place in places[number * count : (number + 1) * count].tolist()
    }
    planted = defaultdict(set)
    for place in range(len(data)):
        mask = data.mask_of(data.image_ids[place])
        if place in kind_of:
            mask = MASKS[kind_of[place]](mask, rng, classes)
            planted[kind_of[place]].add(str(data.paths[place]))
        masks.append(folder / f"{place:05}.png")
        Image.fromarray(mask).save(masks[-1], compress_level=1)
    rules = MaskRules(class_count=classes, ignored=tuple(ignored))
    table: MaskTable[Path] = MaskTable(
        source=folder,
        class_names=data.class_names,
        palette=data.palette,
        image_ids=data.image_ids,
        paths=data.paths,
        masks=masks,
        read=functools.partial(read_mask, rules=rules),
        bad_images="keep",
    )
    return table, planted


def suspects_of(splits: dict[str, Dataset], task: str = "classification") -> tuple[Suspect, ...]:
    """What is suspected of some data."""
    seen = ModelInput((320, 320), "squash", None, lambda size: None)
    return examine(splits, name="planted", task=task, model=seen).suspects


def outcomes_of_copies(
    splits: dict[str, Dataset], planted: dict[str, dict[str, Path]], clean: Iterable[Suspect], *, near: bool = False
) -> dict[str, Outcome]:
    """Of each kind and change; a copy is found where its source, or another copy of that, is named.

    Args:
        splits: of :func:`with_copies`.
        planted: likewise.
        clean: suspects of the set as it was.
        near: what is nearly the same counts, too.
    """
    suspects = suspects_of(splits)
    root = {path: str(source) for files in planted.values() for path, source in files.items()}
    known = {(each.kind, each.image) for each in clean}
    found: dict[str, Outcome] = {}
    for kind in ("duplicate", "leak"):
        own = [each for each in suspects if each.kind == kind or (near and each.kind == f"near {kind}")]
        right = [each for each in own if each.image in root and root.get(each.other, each.other) == root[each.image]]
        false = [each for each in own if each not in right and (each.kind, each.image) not in known]
        most = sum(len(files) for name, files in planted.items() if name.startswith(kind))
        precision = sum(each in right for each in own[:most]) / max(1, min(most, len(own)))
        images = {each.image for each in right}
        for name, files in planted.items():
            if name.startswith(kind):
                found[name] = Outcome(len(files), len(images & set(files)), precision, len(false))
    return found


def outcomes_of(suspects: Iterable[Suspect], kind: str, planted: dict[str, set[str]]) -> dict[str, Outcome]:
    """Of each way in which files or masks were spoilt."""
    own = [each for each in suspects if each.kind == kind]
    every = set().union(*planted.values())
    most = len(every)
    precision = sum(each.image in every for each in own[:most]) / max(1, min(most, len(own)))
    false = sum(each.image not in every for each in own)
    images = {each.image for each in own}
    return {name: Outcome(len(files), len(files & images), precision, false) for name, files in planted.items()}


def _resized(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)


def _all_at_once(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    for name in ("resized", "turned", "mirrored"):
        image = COPIES[name](image, rng)
    return image


def _cut(image: Image.Image, shares: npt.NDArray[np.float64]) -> Image.Image:
    left, top, right, bottom = shares.tolist()
    width, height = image.size
    corners = left * width, top * height, (1 - right) * width, (1 - bottom) * height
    return image.crop(tuple(round(corner) for corner in corners))


def _with_spot(mask: Mask, rng: np.random.Generator, value: int) -> Mask:
    spoilt = mask.copy()
    row, column = rng.integers(0, mask.shape[0] - 8), rng.integers(0, mask.shape[1] - 8)
    spoilt[row : row + 8, column : column + 8] = value
    return spoilt


def _through_jpeg(mask: Mask) -> Mask:
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "JPEG", quality=90)
    decoded = np.array(Image.open(file))
    return np.where(mask == 255, 255, decoded).astype(np.uint8)


def _with_specks(mask: Mask, rng: np.random.Generator, classes: int) -> Mask:
    spots = (rng.random(mask.shape) < 0.03) & (mask != 255)
    return np.where(spots, rng.integers(0, classes, mask.shape), mask).astype(np.uint8)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = Path(sys.argv[1])
    camvid = {split: _camvid(root, split) for split in ("train", "val")}
    sets: dict[str, tuple[ImageTable, ImageTable]] = {
        "BCCD": tuple(VocDetection(root=root / "bccd", split=split) for split in ("train", "val")),  # type: ignore[dict-item]  # data sets of boxes, of which the table takes any
        "VOC 2007, 965": tuple(VocDetection(root=root / "VOCdevkit", split=split) for split in ("train", "val")),  # type: ignore[dict-item]  # data sets of boxes, of which the table takes any
        "CamVid": (camvid["train"], camvid["val"]),
        "COCO, 311": tuple(CocoDetection(root=root / "coco_mini", split=f"{split}2017") for split in ("train", "val")),  # type: ignore[dict-item]  # data sets of boxes, of which the table takes any
    }
    for name, (train, val) in sets.items():
        paths = list(train.paths), list(val.paths)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            clean = suspects_of({"train": Pictures(paths[0]), "val": Pictures(paths[1])})
            kinds = Counter(each.kind for each in clean)
            print(f"\n{name}, as it is: {dict(kinds)}")
            splits, planted = with_copies(*paths, folder, share=0.05)
            _print(outcomes_of_copies(splits, planted, clean))
            splits, planted = with_copies(*paths, folder, share=0.05, changes=CUTS)
            _print(outcomes_of_copies(splits, planted, clean, near=True))
            broken, files = with_broken(paths[0], folder, share=0.05)
            _print(outcomes_of(suspects_of({"train": broken}), "broken image", files))
    with tempfile.TemporaryDirectory() as place:
        masks, images = with_odd_masks(camvid["train"], Path(place), share=0.05)
        print("\nmasks of CamVid")
        _print(outcomes_of(suspects_of({"train": masks}, "segmentation"), "odd mask", images))


def _camvid(root: Path, split: str) -> MaskFolder:
    names = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
    return MaskFolder(root=root / "camvid", split=split, class_names=names, ignored=[11])


def _print(outcomes: dict[str, Outcome]) -> None:
    for name, (planted, found, precision, false) in outcomes.items():
        print(f"{name:24} {planted:4}  recall {found / planted:.3f}  precision at k {precision:.3f}  false {false}")


if __name__ == "__main__":
    main()
