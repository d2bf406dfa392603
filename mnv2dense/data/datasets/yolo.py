"""YOLO detection: one txt a picture, a line ``class centre_x centre_y width height`` an object, in 0..1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np

from mnv2dense.data.datasets.box_table import BoxTable, Objects
from mnv2dense.data.datasets.image_list import BadImages, ids_from_stems, usable_images
from mnv2dense.io.reading import image_size, list_images

# Labels overshoot the picture's edge by rounding or sloppiness; numbers beyond this are pixels, not shares.
_LARGEST_SHARE = 2.0


@final
class YoloDetection(BoxTable):
    """Boxes of YOLO label files. Polygon lines (``class x1 y1 x2 y2 x3 y3 ...``) give their bounding boxes.

    Boxes are shares of the picture's size, so every picture's header is read at the start (20,000 a second).

    Args:
        root: holds ``images/{split}`` and ``labels/{split}``, or ``{split}/images`` and ``{split}/labels``;
            and the names in ``data.yaml`` (a list or a dict under ``names``) or ``classes.txt`` (one a line).
        split: the folder's name; ``val`` also finds ``valid``.
        class_names: the K names, instead of the file's.
        bad_images: ``error`` stops where a image is damaged; ``skip`` decodes all once
            (1,000 a second and core), leaves the bad ones out, and says how many.
        limit: only the first so many pictures, by name.

    Attributes:
        class_names: K names.
        category_ids: 0..K-1, as in the label files.
        image_ids: the numbers that the files are named by, where all are; else 1, 2, 3, ... in order.
        dropped_boxes: boxes left out because nothing of them lies inside the picture.
        clipped_boxes: boxes that stuck out by more than a pixel; samples have them clipped.
        skipped_images: pictures left out by ``bad_images='skip'``.

    Raises:
        FileNotFoundError: a folder or the class names are missing.
        ValueError: a label is not valid; the message names the file and the line.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        split: str = "train",
        class_names: Sequence[str] | None = None,
        bad_images: BadImages = "error",
        limit: int | None = None,
    ) -> None:
        root = Path(root)
        images, labels = _folders(root, split)
        classes = tuple(class_names) if class_names is not None else _class_names(root)
        paths = list_images(images, recursive=True)
        usable = usable_images(images, paths, bad_images=bad_images, limit=limit)
        image_ids = ids_from_stems(paths)
        sizes = [image_size(paths[i]) for i in usable]
        files = [_label_file(paths[i], images, labels) for i in usable]
        if not any(file.is_file() for file in files):
            raise ValueError(
                f"{labels}: no label file for any of {len(files)} pictures in {images}, looked for "
                f"{files[0].relative_to(labels)} and so on. Name each like its picture, with .txt at the end."
            )
        rows = [
            (image, label, x * width, y * height, box_width * width, box_height * height)
            for image, (file, (height, width)) in enumerate(zip(files, sizes, strict=True))
            for label, (x, y, box_width, box_height) in _read_labels(file, len(classes))
        ]
        columns = np.array(rows, np.float64).reshape(-1, 6).T
        super().__init__(
            source=labels,
            class_names=classes,
            category_ids=range(len(classes)),
            image_ids=[image_ids[i] for i in usable],
            paths=[paths[i] for i in usable],
            sizes=list(sizes),
            objects=Objects(
                images=columns[0].astype(np.int64),
                boxes=columns[2:].T,
                labels=columns[1].astype(np.int64),
                ignored=np.zeros(len(rows), np.bool_),
                areas=columns[4] * columns[5],
                ids=np.arange(1, len(rows) + 1),
            ),
            skipped_images=len(paths[:limit]) - len(usable),
        )


def _folders(root: Path, split: str) -> tuple[Path, Path]:
    """The folders of pictures and of labels."""
    if not root.is_dir():
        raise FileNotFoundError(f"data.root={root}: no such folder (looked from {Path.cwd()}).")
    names = (split, "valid") if split == "val" else (split,)
    layouts = [
        pair for name in names for pair in ((f"images/{name}", f"labels/{name}"), (f"{name}/images", f"{name}/labels"))
    ]
    for images, labels in layouts:
        if (root / images).is_dir():
            if not (root / labels).is_dir():
                raise FileNotFoundError(f"{root / labels}: no such folder, beside {images} it holds the labels.")
            return root / images, root / labels
    looked = ", ".join(images for images, _ in layouts)
    there = ", ".join(sorted(path.name for path in root.iterdir())[:10]) or "nothing"
    raise FileNotFoundError(
        f"data.root={root}: no pictures of split {split!r}; looked for {looked}. Set data.root to the folder "
        f"that holds images/ and labels/; it has: {there}."
    )


def _class_names(root: Path) -> tuple[str, ...]:
    import yaml

    for file in (root / "data.yaml", root / "data.yml", root / "dataset.yaml"):
        if file.is_file():
            try:
                content = yaml.safe_load(file.read_text(encoding="utf-8"))
            except yaml.YAMLError as error:
                raise ValueError(f"{file}: not valid yaml ({error}).") from error
            names = content.get("names") if isinstance(content, dict) else None
            if isinstance(names, dict):
                if sorted(names) != list(range(len(names))):
                    raise ValueError(f"{file}: the keys of 'names' are {list(names)[:10]}, not 0, 1, 2, ...")
                names = [names[label] for label in range(len(names))]
            if not isinstance(names, list) or not names:
                raise ValueError(f"{file}: 'names' is {names!r}; give the class names as a list, or 0: name, 1: ...")
            return tuple(str(name) for name in names)
    if (root / "classes.txt").is_file():
        lines = (root / "classes.txt").read_text(encoding="utf-8-sig").splitlines()
        return tuple(line.strip() for line in lines if line.strip())
    raise FileNotFoundError(
        f"{root}: no class names: neither data.yaml nor classes.txt is there. Write one, or set class_names."
    )


def _label_file(image: Path, images: Path, labels: Path) -> Path:
    return (labels / image.relative_to(images)).with_suffix(".txt")


def _read_labels(file: Path, num_classes: int) -> list[tuple[int, tuple[float, float, float, float]]]:
    """Per line its label and box (x, y, width, height) in shares of the picture; none without a file."""
    if not file.is_file():
        return []
    labels = []
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if line.strip():
            try:
                labels.append(_parse_line(line, num_classes))
            except ValueError as error:
                raise ValueError(f"{file}, line {number}: {error}; the line is {line.strip()!r:.100}.") from error
    return labels


def _parse_line(line: str, num_classes: int) -> tuple[int, tuple[float, float, float, float]]:
    first, *rest = (float(word) for word in line.split())
    if first not in range(num_classes):
        raise ValueError(f"class {first:g} is not among the data set's 0..{num_classes - 1}")
    if not all(abs(share) <= _LARGEST_SHARE for share in rest):  # NaN compares false
        raise ValueError("values are shares of the picture, 0..1; divide pixels by its width and height")
    if len(rest) == 4:
        x, y, width, height = rest
        return int(first), (x - width / 2, y - height / 2, width, height)
    if len(rest) < 6 or len(rest) % 2:
        raise ValueError(f"{len(rest)} values after the class; a box has 4, a polygon an even number of 6 or more")
    xs, ys = rest[0::2], rest[1::2]
    return int(first), (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
