"""Which boxes find an object: greedily, the surest box first; for one image or a whole data set at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.ops.numpy_boxes import areas, intersection, iou

_LEAST_IGNORED = 0.5
"""The share of a box within a region to ignore from which on it is left out."""

_PAIRS = 1_000_000
"""Boxes beside objects that are compared at once: 100 MB."""

Indices = npt.NDArray[np.int64]


class Hits(NamedTuple):
    """What became of N boxes.

    Attributes:
        ious: float64 [N], with the object that a box found; 0 of a box that found none.
        ignored: bool [N], it found none, and a region to ignore of its class has half of it: neither right nor wrong.
    """

    ious: npt.NDArray[np.float64]
    ignored: npt.NDArray[np.bool_]


def hits(found: FoundBoxes, truth: TrueBoxes, *, least_iou: float) -> Hits:
    """Boxes take objects of their image and class, the surest box first, each the free object that it overlaps most.

    Of boxes of one score the first goes first, of objects that it overlaps alike it takes the first. Each object is
    found once.

    Args:
        found: the boxes.
        truth: the objects of the same images.
        least_iou: of a box and the object that it finds, above 0.
    """
    ious, ignored = np.zeros(len(found.labels)), np.zeros(len(found.labels), np.bool_)
    corners = truth.corners
    near: list[tuple[Indices, Indices, npt.NDArray[np.float64]]] = []
    for boxes, objects in _pairs(found, truth):
        crowds = truth.crowds[objects]
        box, crowd = found.boxes[boxes[crowds]], corners[objects[crowds]]
        within = intersection(box, crowd) >= _LEAST_IGNORED * areas(box)
        ignored[boxes[crowds][within]] = True
        boxes, objects = boxes[~crowds], objects[~crowds]
        overlaps = iou(found.boxes[boxes], corners[objects])
        close = overlaps >= least_iou
        near.append((boxes[close], objects[close], overlaps[close]))
    if not near:
        return Hits(ious, ignored)
    boxes, objects, overlaps = (np.concatenate(column) for column in zip(*near, strict=True))
    order = np.lexsort((objects, -overlaps, boxes, -found.scores[boxes]))
    free = [True] * len(truth.labels)
    searching = [True] * len(found.labels)
    pairs = (column[order].tolist() for column in (boxes, objects, overlaps))
    for box, thing, overlap in zip(*pairs, strict=True):
        if searching[box] and free[thing]:
            searching[box] = free[thing] = False
            ious[box] = overlap
    ignored &= ious == 0
    return Hits(ious, ignored)


def _pairs(found: FoundBoxes, truth: TrueBoxes) -> Iterator[tuple[Indices, Indices]]:
    """Rows of boxes and of objects, one of each for every two of the same image and class; in portions."""
    classes = 1 + max(found.labels.max(initial=0), truth.labels.max(initial=0))
    wanted = found.images * classes + found.labels
    given = truth.images * classes + truth.labels
    order = np.argsort(given, kind="stable")
    first = np.searchsorted(given[order], wanted, side="left")
    counts = np.searchsorted(given[order], wanted, side="right") - first
    boxes = np.flatnonzero(counts)
    ends = counts[boxes].cumsum()
    for chosen in np.split(boxes, np.searchsorted(ends, np.arange(_PAIRS, ends[-1] if len(ends) else 0, _PAIRS))):
        if not len(chosen):
            continue
        repeats = counts[chosen]
        within = np.arange(repeats.sum()) - np.repeat(repeats.cumsum() - repeats, repeats)
        yield np.repeat(chosen, repeats), order[np.repeat(first[chosen], repeats) + within]
