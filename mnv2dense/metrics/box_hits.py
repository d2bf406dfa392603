"""Which boxes find an object: greedily, the surest box first; for one image or a whole data set at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.ops.numpy_boxes import areas, intersection, iou

MOST_BOXES: Final = 100
"""Of a class in an image, the surest: COCO's limit, which average precision keeps to."""

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
        objects: int64 [N], the object that a box found; -1 of a box that found none.
    """

    ious: npt.NDArray[np.float64]
    ignored: npt.NDArray[np.bool_]
    objects: Indices


class Overlaps(NamedTuple):
    """Boxes that lie on objects of their image, P pairs of the two.

    Attributes:
        boxes: int64 [P].
        objects: int64 [P].
        ious: float64 [P].
    """

    boxes: Indices
    objects: Indices
    ious: npt.NDArray[np.float64]

    def where(self, chosen: npt.NDArray[np.bool_]) -> Overlaps:
        """Some of the pairs, bool [P]."""
        return Overlaps(self.boxes[chosen], self.objects[chosen], self.ious[chosen])


def hits(found: FoundBoxes, truth: TrueBoxes, *, least_iou: float) -> Hits:
    """Boxes take objects of their image and class, the surest box first, each the free object that it overlaps most.

    Of boxes of one score the first goes first, of objects that it overlaps alike it takes the first. Each object is
    found once.

    Args:
        found: the boxes.
        truth: the objects of the same images.
        least_iou: of a box and the object that it finds, above 0.
    """
    ignored, corners = np.zeros(len(found.labels), np.bool_), truth.corners
    for boxes, crowds in pairs_of(found, truth, np.flatnonzero(truth.crowds), apart=True):
        shared = intersection(found.boxes[boxes], corners[crowds])
        within = shared >= _LEAST_IGNORED * areas(found.boxes[boxes])
        ignored[boxes[within & (shared > 0)]] = True  # a box without area lies in nothing, as pycocotools has it
    near = overlaps(found, truth, least_iou=least_iou, apart=True)
    pairs = taken(found, near)
    ious, objects = np.zeros(len(found.labels)), np.full(len(found.labels), -1)
    ious[near.boxes[pairs]], objects[near.boxes[pairs]] = near.ious[pairs], near.objects[pairs]
    return Hits(ious, ignored & (objects < 0), objects)


def overlaps(found: FoundBoxes, truth: TrueBoxes, *, least_iou: float, apart: bool) -> Overlaps:
    """Every box beside every object of its image that it overlaps so far; regions to ignore are none.

    Args:
        found: the boxes.
        truth: the objects of the same images.
        least_iou: of a pair.
        apart: only objects of the box's own class.
    """
    near = [Overlaps(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    corners = truth.corners
    for boxes, objects in pairs_of(found, truth, np.flatnonzero(~truth.crowds), apart=apart):
        ious = iou(found.boxes[boxes], corners[objects])
        near.append(Overlaps(boxes, objects, ious).where(ious >= least_iou))
    return Overlaps(*(np.concatenate(column) for column in zip(*near, strict=True)))


def taken(found: FoundBoxes, near: Overlaps) -> Indices:
    """Which pairs come together where the surest box chooses first; of those that overlap alike, the first object."""
    order = np.lexsort((near.objects, -near.ious, near.boxes, -found.scores[near.boxes]))
    searching, free = set(near.boxes.tolist()), set(near.objects.tolist())
    pairs = []
    for pair, box, thing in zip(order.tolist(), near.boxes[order].tolist(), near.objects[order].tolist(), strict=True):
        if box in searching and thing in free:
            searching.remove(box)
            free.remove(thing)
            pairs.append(pair)
    return np.array(pairs, np.int64)


def pairs_of(found: FoundBoxes, truth: TrueBoxes, chosen: Indices, *, apart: bool) -> Iterator[tuple[Indices, Indices]]:
    """Every box beside every chosen object of its image, in portions; by the boxes, those of a box as chosen.

    Args:
        found: the boxes.
        truth: the objects of the same images.
        chosen: int64 [C], places of objects.
        apart: only objects of the box's own class.

    Yields:
        Places of boxes and of objects, int64 [P] each.
    """
    classes = 1 + max(found.labels.max(initial=0), truth.labels.max(initial=0))
    wanted, given = (part.images * classes + part.labels * apart for part in (found, truth))
    order = chosen[np.argsort(given[chosen], kind="stable")]
    first = np.searchsorted(given[order], wanted, side="left")
    counts = np.searchsorted(given[order], wanted, side="right") - first
    boxes = np.flatnonzero(counts)
    ends = counts[boxes].cumsum()
    for some in np.split(boxes, np.searchsorted(ends, np.arange(_PAIRS, ends[-1] if len(ends) else 0, _PAIRS))):
        if not len(some):
            continue
        repeats = counts[some]
        within = np.arange(repeats.sum()) - np.repeat(repeats.cumsum() - repeats, repeats)
        yield np.repeat(some, repeats), order[np.repeat(first[some], repeats) + within]


def turns(found: FoundBoxes) -> Indices:
    """The place of each box among those of its image and class, the surest first and of equal ones the first: [N]."""
    order = np.lexsort((-found.scores, found.labels, found.images))
    images, labels = found.images[order], found.labels[order]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (images[1:] != images[:-1]) | (labels[1:] != labels[:-1])
    places = np.arange(len(order))
    made = np.empty_like(places)
    made[order] = places - np.maximum.accumulate(np.where(begins, places, 0))
    return made
