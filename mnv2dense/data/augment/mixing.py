"""Images made of several: mosaics, pasted objects and blends, for boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import cv2
import numpy as np
import numpy.typing as npt

from mnv2dense.data.augment.windows import centres_inside
from mnv2dense.types import IGNORE_LABEL, Sample

# Where the four images of a mosaic meet, as shares of its sides.
_MEET = (0.3, 0.7)

# Objects that are pasted at most.
_PASTED = 3

# Of an object less than this may be left to be seen once others lie over it; then it is one no more.
_VISIBLE = 0.3

# A box with a thinner side is left out, pixels.
_LEAST_SIDE = 0.01

# Mixup's shares for detection (Zhang et al. 2019, section 3.1): both images are mostly there.
_BETA = 1.5

# A stream of random numbers beside that of the augmentation itself, which stays as it was.
_STREAM = 1


@final
class Mixing:
    """Which images a sample is mixed with, and how; each way by a probability of its own.

    A mosaic (Bochkovskiy et al. 2020, section 3.3) sets four images around a point, each cut and scaled to fill its
    corner. Copy-paste lays objects of another image, cut out along their boxes, over this one at their size. Mixup
    (Zhang et al. 2019) blends two images and keeps the boxes of both. An object stays if its centre does, clipped;
    regions to ignore stay as long as they are visible.

    Args:
        mosaic: probability, 0..1.
        copy_paste: likewise.
        mixup: likewise.

    Raises:
        ValueError: a probability outside 0..1.
    """

    def __init__(self, *, mosaic: float = 0.0, copy_paste: float = 0.0, mixup: float = 0.0) -> None:
        for name, value in (("mosaic", mosaic), ("copy_paste", copy_paste), ("mixup", mixup)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name}_probability is {value}, but must lie in 0..1.")
        self._probabilities = (mosaic, copy_paste, mixup)

    def __bool__(self) -> bool:
        return any(self._probabilities)

    def partners(self, seed: int, images: int) -> list[int]:
        """Which of ``images`` a sample is mixed with; none where it stays alone."""
        if not any(self._probabilities):
            return []
        ways, rng = self._ways(seed)
        count = 3 * ways[0] + ways[1] + ways[2]
        return rng.integers(images, size=count).tolist()  # type: ignore[no-any-return]

    def mix(self, sample: Sample, others: Sequence[Sample], seed: int) -> Sample:
        """The sample and those that :meth:`partners` named, as one image; none is changed.

        Raises:
            ValueError: one has no boxes, or a mask.
        """
        for each in (sample, *others):
            if each.boxes is None or each.labels is None or each.mask is not None or each.image_labels is not None:
                raise ValueError(f"{each.path}: mosaics, pasting and mixup are for boxes alone; leave them out.")
        (mosaic, paste, mixup), rng = self._ways(seed)
        left = list(others)
        if mosaic:
            sample = _mosaic(sample, [left.pop() for _ in range(3)], rng)
        if paste:
            sample = _paste(sample, left.pop(), rng)
        if mixup:
            sample = _blend(sample, left.pop(), rng)
        return _without_slivers(sample)

    def _ways(self, seed: int) -> tuple[tuple[bool, ...], np.random.Generator]:
        """Which of them this seed has, and the stream that is left."""
        rng = np.random.default_rng((seed, _STREAM))
        draws = rng.random(len(self._probabilities)).tolist()
        return tuple(draw < share for draw, share in zip(draws, self._probabilities, strict=True)), rng


def _mosaic(sample: Sample, others: Sequence[Sample], rng: np.random.Generator) -> Sample:
    height, width = sample.image.shape[:2]
    middle_y, middle_x = (_between(side, rng.uniform(*_MEET)) for side in (height, width))
    corners = [
        (0, 0, middle_x, middle_y),
        (middle_x, 0, width, middle_y),
        (0, middle_y, middle_x, height),
        (middle_x, middle_y, width, height),
    ]
    parts = [sample, *others]
    canvas = np.empty_like(sample.image)
    boxes, labels = [], []
    for (left, top, right, bottom), place in zip(corners, rng.permutation(4).tolist(), strict=True):
        if right == left or bottom == top:  # of an image one pixel wide
            continue
        image, own, theirs = _filling(parts[place], bottom - top, right - left, rng)
        canvas[top:bottom, left:right] = image
        boxes.append(own + np.array([left, top, left, top], np.float32))
        labels.append(theirs)
    return sample._replace(image=canvas, boxes=np.concatenate(boxes), labels=np.concatenate(labels))


def _paste(sample: Sample, other: Sample, rng: np.random.Generator) -> Sample:
    assert sample.boxes is not None
    assert sample.labels is not None
    assert other.boxes is not None
    assert other.labels is not None
    height, width = sample.image.shape[:2]
    canvas, boxes, labels = sample.image.copy(), sample.boxes, sample.labels
    objects = np.flatnonzero(other.labels != IGNORE_LABEL)
    for index in rng.permutation(objects)[: int(rng.integers(1, _PASTED + 1))].tolist():
        left, top = np.floor(other.boxes[index, :2]).astype(int)
        right, bottom = np.ceil(other.boxes[index, 2:]).astype(int)
        patch = other.image[top:bottom, left:right]
        if patch.shape[0] >= height or patch.shape[1] >= width:
            continue  # it would hide the whole image
        x, y = int(rng.integers(width - patch.shape[1] + 1)), int(rng.integers(height - patch.shape[0] + 1))
        canvas[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
        window = np.array([x, y, x + patch.shape[1], y + patch.shape[0]], np.float32)
        seen = (_hidden(boxes, window) <= 1 - _VISIBLE) | (labels == IGNORE_LABEL)
        # What else is to be seen in the patch comes along, or it would be background.
        own, theirs = _seen_in(other, np.array([left, top, right, bottom], np.float32))
        boxes = np.concatenate((boxes[seen], own - np.array([left, top] * 2, np.float32) + window[[0, 1, 0, 1]]))
        labels = np.concatenate((labels[seen], theirs))
    return sample._replace(image=canvas, boxes=boxes, labels=labels)


def _blend(sample: Sample, other: Sample, rng: np.random.Generator) -> Sample:
    assert sample.boxes is not None
    assert sample.labels is not None
    height, width = sample.image.shape[:2]
    image, boxes, labels = _filling(other, height, width, rng)
    share = float(rng.beta(_BETA, _BETA))
    blended = np.asarray(cv2.addWeighted(sample.image, share, image, 1 - share, 0), np.uint8)
    return sample._replace(
        image=blended, boxes=np.concatenate((sample.boxes, boxes)), labels=np.concatenate((sample.labels, labels))
    )


def _filling(
    sample: Sample, height: int, width: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """A part of an image of the wanted shape, as large as can be, scaled to (height, width); what it shows of boxes."""
    rows, columns = sample.image.shape[:2]
    scale = max(height / rows, width / columns)
    part_rows, part_columns = (
        min(whole, max(1, round(side / scale))) for whole, side in ((rows, height), (columns, width))
    )
    top, left = int(rng.integers(rows - part_rows + 1)), int(rng.integers(columns - part_columns + 1))
    part = sample.image[top : top + part_rows, left : left + part_columns]
    interpolation = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
    image = np.asarray(cv2.resize(part, (width, height), interpolation=interpolation), np.uint8)
    window = np.array([left, top, left + part_columns, top + part_rows], np.float32)
    boxes, labels = _seen_in(sample, window)
    moved = (boxes - window[[0, 1, 0, 1]]) * np.array([width / part_columns, height / part_rows] * 2)
    return image, moved.clip(0, [width, height] * 2).astype(np.float32), labels


def _seen_in(sample: Sample, window: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Boxes that have their centre in a window [4], and regions to ignore that reach into it, clipped to it."""
    assert sample.boxes is not None
    assert sample.labels is not None
    boxes, labels = sample.boxes, sample.labels
    inside = centres_inside(window[None], boxes)[0]
    clipped = np.concatenate((np.maximum(boxes[:, :2], window[:2]), np.minimum(boxes[:, 2:], window[2:])), axis=1)
    kept = (clipped[:, 2:] - clipped[:, :2] > _LEAST_SIDE).all(axis=1) & (inside | (labels == IGNORE_LABEL))
    return clipped[kept], labels[kept]


def _without_slivers(sample: Sample) -> Sample:
    """Scaled down, a box may become thinner than what float32 can tell from nothing."""
    assert sample.boxes is not None
    assert sample.labels is not None
    kept = (sample.boxes[:, 2:] - sample.boxes[:, :2] > _LEAST_SIDE).all(axis=1)
    return sample._replace(boxes=sample.boxes[kept], labels=sample.labels[kept])


def _hidden(boxes: npt.NDArray[np.float32], window: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Share of each box that a window covers: [N, 4] and [4] -> [N]."""
    low, high = np.maximum(boxes[:, :2], window[:2]), np.minimum(boxes[:, 2:], window[2:])
    covered = (high - low).clip(min=0).prod(axis=1)
    return np.asarray(covered / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1), np.float32)


def _between(side: int, share: float) -> int:
    return min(side, max(0, round(side * share)))
