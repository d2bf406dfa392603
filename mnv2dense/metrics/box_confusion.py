"""What objects were taken for, background included, and how many are missed and made up of each size."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.metrics.box_hits import Indices, hits, overlaps, taken
from mnv2dense.metrics.threshold_curves import reaches
from mnv2dense.ops.numpy_boxes import areas

SIZES: Final = {"small": "below 32\u00b2 px", "medium": "below 96\u00b2 px", "large": "96\u00b2 px and more"}
"""COCO's, by area. An area on a border is in both of COCO's sizes; here it is in the larger one alone."""

_BORDERS = np.array([32.0**2, 96.0**2])

_IOU = 0.5


class BoxConfusion(NamedTuple):
    """Objects and boxes of K classes, from a threshold on.

    Attributes:
        threshold: lowest score of a box that counts.
        counts: int64 [K + 1, K + 1], truth in rows, what it was taken for in columns; the last of each is background:
            ``counts[k, K]`` objects of class k are missed, ``counts[K, k]`` boxes of class k are at no object that
            another does not have. ``counts[K, K]`` is 0.
        objects: int64 [3], of each of :data:`SIZES`, regions to ignore left out.
        right: int64 [3], those of them that a box of their class found.
        mistaken: int64 [3], those that a box of another class has; the rest is missed.
        false: int64 [3], boxes at no object, by their own area.
    """

    threshold: float
    counts: npt.NDArray[np.int64]
    objects: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    mistaken: npt.NDArray[np.int64]
    false: npt.NDArray[np.int64]


def box_confusion(found: FoundBoxes, truth: TrueBoxes, count: int, *, threshold: float) -> BoxConfusion:
    """Which object each box is taken to mean, and what is left of both.

    Boxes of at least ``threshold`` and objects come together at IoU 0.5, each once, in two rounds:

    1. Within a class, the surest box first, each the free object of its class that it overlaps most
       (:func:`mnv2dense.metrics.box_hits.hits`). So the diagonal is what precision, recall and F1 at that threshold
       call right. Boxes that found none and have half of their area in a region to ignore of their class are left out.
    2. Whatever is left, of any class, in the same way: the surest box first, each the free object that it overlaps
       most. These are taken for another class.

    Objects that are then left are missed, boxes are false.

    Args:
        found: boxes of all images.
        truth: their objects.
        count: of classes, K.
        threshold: of scores.
    """
    found = found.where(reaches(threshold, found.scores))
    went = hits(found, truth, least_iou=_IOU)
    objects, free = went.objects.copy(), ~truth.crowds
    free[objects[objects >= 0]] = False
    near = overlaps(found, truth, least_iou=_IOU, apart=False)
    near = near.where((objects[near.boxes] < 0) & ~went.ignored[near.boxes] & free[near.objects])
    pairs = taken(found, near)
    objects[near.boxes[pairs]] = near.objects[pairs]
    free[near.objects[pairs]] = False

    boxes = np.flatnonzero(objects >= 0)
    alone = np.flatnonzero((objects < 0) & ~went.ignored)
    rows = [truth.labels[objects[boxes]], truth.labels[free], np.full(len(alone), count)]
    columns = [found.labels[boxes], np.full(int(free.sum()), count), found.labels[alone]]
    cells = np.concatenate(rows) * (count + 1) + np.concatenate(columns)
    return BoxConfusion(
        threshold,
        np.bincount(cells, minlength=(count + 1) ** 2).reshape(count + 1, count + 1),
        _of_sizes(truth.areas[~truth.crowds]),
        _of_sizes(truth.areas[went.objects[went.objects >= 0]]),
        _of_sizes(truth.areas[near.objects[pairs]]),
        _of_sizes(areas(found.boxes[alone])),
    )


def size_of(area: npt.NDArray[np.float64]) -> Indices:
    """0, 1 or 2 of :data:`SIZES`, of each."""
    return np.searchsorted(_BORDERS, area, side="right")


def _of_sizes(area: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return np.bincount(size_of(area), minlength=len(SIZES))
