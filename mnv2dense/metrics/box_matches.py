"""Which boxes COCO counts as right, wrong or neither, for every threshold and size: the table that AP is added up from.

The rules are those of COCO's evaluation (cocodataset.org/#detection-eval) as pycocotools implements them; where a score
alone is wanted, :mod:`mnv2dense.metrics.coco_backends` gives it sooner.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.metrics.box_hits import MOST_BOXES, Indices, Overlaps, pairs_of, turns

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

THRESHOLDS: Final = np.linspace(0.5, 0.95, 10)
"""Of IoU, T of them."""

AREAS: Final = ((0.0, 1e10), (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e10))
"""All, small, medium and large: square pixels, both ends included. A of them."""


class BoxMatches(NamedTuple):
    """N boxes, sorted by class and, within one, from the surest on; and M objects.

    Attributes:
        images: int64 [N], places of the images.
        labels: int64 [N], ascending.
        inside: bool [A, N], whether the box itself is of that size.
        right: bool [A, T, N], it found an object that counts.
        counted: bool [A, T, N], it is right or wrong: neither is one that found an object that does not count, or that
            found none and is of another size.
        object_images: int64 [M].
        object_labels: int64 [M].
        object_counts: bool [A, M], whether it is to be found: no crowd, and of that size.
    """

    images: Indices
    labels: Indices
    inside: Bools
    right: Bools
    counted: Bools
    object_images: Indices
    object_labels: Indices
    object_counts: Bools


def box_matches(found: FoundBoxes, truth: TrueBoxes) -> BoxMatches:
    """Boxes take objects of their image and class, the surest box first, for each threshold and size apart."""
    turn = turns(found)
    kept = turn < MOST_BOXES
    found, turn = found.where(kept), turn[kept]
    xywh = found.xywh
    inside = _inside(xywh[:, 2] * xywh[:, 3])
    object_counts = _inside(truth.areas) & ~truth.crowds
    near = _near(found, xywh, truth)
    matched, right = _taken(near, turn, truth, object_counts)
    counted = np.where(matched, right, inside[:, None])
    ranked = np.lexsort((turn, found.images, -found.scores, found.labels))
    return BoxMatches(
        found.images[ranked],
        found.labels[ranked],
        inside[:, ranked],
        right[..., ranked],
        counted[..., ranked],
        truth.images,
        truth.labels,
        object_counts,
    )


def _inside(areas: Floats) -> Bools:
    """Which areas are of which size: [A, n]."""
    return np.stack([(areas >= least) & (areas <= most) for least, most in AREAS])


def _near(found: FoundBoxes, xywh: Floats, truth: TrueBoxes) -> Overlaps:
    """Boxes beside objects that they overlap enough; those of a box together, in the objects' order."""
    parts = [Overlaps(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for boxes, objects in pairs_of(found, truth, np.arange(len(truth.labels)), apart=True):
        ious = _iou(xywh[boxes], truth.boxes[objects], truth.crowds[objects])
        close = ious >= THRESHOLDS[0]
        parts.append(Overlaps(boxes[close], objects[close], ious[close]))
    return Overlaps(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _iou(boxes: Floats, objects: Floats, crowds: Bools) -> Floats:
    """Of each with its own, xywh; of a crowd the share of the box in it. In COCO's order, to the last bit."""
    least = np.minimum(boxes[:, :2] + boxes[:, 2:], objects[:, :2] + objects[:, 2:])
    sides = least - np.maximum(boxes[:, :2], objects[:, :2])
    both = np.where((sides > 0).all(axis=1), sides[:, 0] * sides[:, 1], 0.0)
    own, theirs = boxes[:, 2] * boxes[:, 3], objects[:, 2] * objects[:, 3]
    either = np.where(crowds, own, own + theirs - both)
    return np.divide(both, either, out=np.zeros_like(both), where=both > 0)


def _taken(near: Overlaps, turn: Indices, truth: TrueBoxes, object_counts: Bools) -> tuple[Bools, Bools]:
    """Which boxes find an object, and which of them one that counts: both [A, T, N].

    An object that counts goes before any other, then the larger overlap, then the later object. All boxes whose turn
    it is in their images and classes choose at once.
    """
    areas, thresholds = len(AREAS), len(THRESHOLDS)
    matched = np.zeros((areas, thresholds, len(turn)), np.bool_)
    right = np.zeros_like(matched)
    free = np.ones((areas, thresholds, len(truth.labels)), np.bool_)
    by_worth = np.lexsort((np.arange(len(near.boxes)), near.ious))
    worth = np.empty_like(by_worth)
    worth[by_worth] = np.arange(len(by_worth))
    turns = turn[near.boxes]
    in_turn = np.argsort(turns, kind="stable")
    for rows in np.split(in_turn, np.flatnonzero(np.diff(turns[in_turn])) + 1):
        if not len(rows):
            continue
        things = near.objects[rows]
        counts = object_counts[:, None, things]
        offered = (free[..., things] | truth.crowds[things]) & (near.ious[rows] >= THRESHOLDS[:, None])
        bids = np.where(offered, worth[rows] + counts * len(worth), -1)
        chooser, starts = np.unique(near.boxes[rows], return_index=True)
        best = np.maximum.reduceat(bids, starts, axis=2)
        area, threshold, place = np.nonzero(best >= 0)
        chosen = near.objects[by_worth[best[area, threshold, place] % len(worth)]]
        free[area, threshold, chosen] = False
        matched[area, threshold, chooser[place]] = True
        right[area, threshold, chooser[place]] = object_counts[area, chosen]
    return matched, right
