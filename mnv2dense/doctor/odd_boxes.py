"""Boxes that nobody would draw on purpose: outside, hardly there, doubled, the same in many images. No model needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mnv2dense.doctor.columns import without_crowds
from mnv2dense.doctor.doubled_boxes import doubled_boxes
from mnv2dense.doctor.looks import Looks
from mnv2dense.doctor.suspect import Suspect
from mnv2dense.types import BoxColumns

# Pixels of the image; a side below is a slip of the mouse more often than an object.
_LEAST_SIDE = 2.0

# Long to short side; and how many times as long as the class's own 99th percentile, as poles and trains are long.
_LONGEST, _BEYOND_CLASS = 15.0, 1.5

# Images in which one box may stand, to the pixel, before it looks like a tool's default.
_MOST_IMAGES = 5


def odd_boxes(
    looks: Looks, columns: BoxColumns, dropped: BoxColumns | None, class_names: Sequence[str]
) -> list[Suspect]:
    """Suspects of a split of boxes.

    Args:
        looks: of its images, in the order of ``columns.image_ids``.
        columns: its boxes, as they are annotated; crowds are left alone.
        dropped: boxes that the data set left out because nothing of them lies inside their image.
        class_names: K.
    """
    suspects = _Suspects(looks, class_names)
    if dropped is not None:
        for row, corners in enumerate(_corners(dropped.boxes)):
            width, height = dropped.boxes[row, 2:]
            if min(width, height) > 0 and not looks.sizes[dropped.images[row]].all():
                continue  # nobody knows where an image ends that cannot be read
            what = "has no area" if min(width, height) <= 0 else "lies outside of its image"
            suspects.add("odd box", 1.0, dropped, row, corners, f"{what}, and is left out of training")
    columns = without_crowds(columns)
    corners = _corners(columns.boxes)
    frames = looks.sizes[columns.images].astype(np.float64)[:, ::-1]  # width, height
    known = (frames > 0).all(axis=1)
    sides = columns.boxes[:, 2:]

    over = np.maximum(0, np.maximum(-corners[:, :2], corners[:, 2:] - frames)).max(axis=1, initial=0) * known
    for row in np.flatnonzero(over > 1).tolist():
        score = 0.5 + 0.4 * float(over[row]) / max(1.0, float(sides[row].max()))
        message = f"sticks out of its image by {over[row]:.0f} pixels"
        suspects.add("odd box", score, columns, row, corners[row], message)
    tiny = (sides.min(axis=1) < _LEAST_SIDE) & known
    for row in np.flatnonzero(tiny).tolist():
        score = 0.8 - 0.2 * float(sides[row].min()) / _LEAST_SIDE
        suspects.add("odd box", score, columns, row, corners[row], f"is {_size(sides[row])} pixels small")
    long = _long(columns, sides, len(class_names)) & known & ~tiny
    for row in np.flatnonzero(long).tolist():
        message = f"is {_size(sides[row])} pixels: longer than others of its class by far"
        suspects.add("odd box", 0.4, columns, row, corners[row], message)
    doubled = doubled_boxes(columns)
    for row, overlap in zip(doubled.rows.tolist(), doubled.scores.tolist(), strict=True):
        message = f"covers another {class_names[columns.labels[row]]} of the same image (IoU {overlap:.2f})"
        suspects.add("doubled box", 0.5 + overlap / 2, columns, row, corners[row], message)
    for row, images in _defaults(columns, frames):
        message = f"stands at the same pixels in {images} images: a tool's default, or pasted?"
        suspects.add("odd box", 0.7, columns, row, corners[row], message)
    return suspects.found


def wrong_sizes(looks: Looks, recorded: npt.NDArray[np.int64]) -> list[Suspect]:
    """Images of another size than their annotations were made for, so that all of their boxes are misplaced.

    Args:
        looks: of a split.
        recorded: int64 [P, 2], (height, width) that the annotations say.
    """
    readable = (looks.sizes > 0).all(axis=1)
    other = readable & (recorded != looks.sizes).any(axis=1)
    return [
        Suspect(
            "other size",
            looks.paths[place],
            looks.image_ids[place],
            1.0,
            f"is {looks.sizes[place, 1]}x{looks.sizes[place, 0]} pixels, but its annotations are of an image of "
            f"{recorded[place, 1]}x{recorded[place, 0]}",
        )
        for place in np.flatnonzero(other).tolist()
    ]


class _Suspects:
    """Makes them of rows of boxes."""

    def __init__(self, looks: Looks, class_names: Sequence[str]) -> None:
        self.found: list[Suspect] = []
        self._looks, self._names = looks, class_names

    def add(
        self, kind: str, score: float, columns: BoxColumns, row: int, corners: npt.NDArray[np.float64], message: str
    ) -> None:
        place = int(columns.images[row])
        label = self._names[int(columns.labels[row])]
        left, top, right, bottom = (round(float(value), 2) for value in corners)
        self.found.append(
            Suspect(
                kind,
                self._looks.paths[place],
                self._looks.image_ids[place],
                round(min(1.0, float(score)), 4),
                f"a box of {label} {message}",
                (left, top, right, bottom),
                label,
            )
        )


def _corners(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """COCO's x, y, width, height -> xyxy."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _size(sides: npt.NDArray[np.float64]) -> str:
    return f"{sides[0]:.4g} x {sides[1]:.4g}"


def _long(columns: BoxColumns, sides: npt.NDArray[np.float64], classes: int) -> npt.NDArray[np.bool_]:
    """Which boxes are far longer than wide, and than others of their class."""
    ratios = sides.max(axis=1, initial=0) / np.maximum(sides.min(axis=1, initial=np.inf), 1e-6)
    usual = np.full(classes, np.inf)
    for label in np.unique(columns.labels).tolist():
        usual[label] = np.quantile(ratios[columns.labels == label], 0.99)
    return np.asarray((ratios > _LONGEST) & (ratios > _BEYOND_CLASS * usual[columns.labels]))


def _defaults(columns: BoxColumns, frames: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
    """(row, number of images) of boxes that stand at the same pixels in many images, unless they fill them."""
    fills = (columns.boxes[:, 2:] >= 0.9 * frames).any(axis=1)
    rows = np.flatnonzero(~fills)
    if not len(rows):
        return []
    _, groups = np.unique(np.round(columns.boxes[rows], 1), axis=0, return_inverse=True)
    pairs = np.unique(np.stack([groups.reshape(-1), columns.images[rows]], axis=1), axis=0)
    images = np.bincount(pairs[:, 0])
    counts = images[groups.reshape(-1)]
    return [(int(row), int(count)) for row, count in zip(rows, counts, strict=True) if count > _MOST_IMAGES]
