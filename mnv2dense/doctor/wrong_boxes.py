"""Boxes that lie wrong or are missing, by what a model that has not learnt from them found.

The kinds are ObjectLab's (Tkachenko et al. 2023: badly located, overlooked); the scores are our own, as detectors that
learn for a minute are less sure of themselves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.doctor.overlaps import overlapping
from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Of a found box and an annotated one: from here on they may be of one object.
_TOUCHING = 0.1

# A found box that an annotated one covers this far is part of that object, or its neighbour's double.
_TAKEN = 0.5


# What fits is far nearer than a box that is off by a third: to the power of 5 an IoU of 0.9 is 0.59, one of 0.6 0.08.
_FITTING = 5

# Scores that the weakest boxes have anywhere.
_NOISE = 0.1


class ShiftedBoxes(NamedTuple):
    """Of M annotated boxes.

    Attributes:
        scores: float64 [M], 0..1, how sure it is that the box lies wrong.
        proposed: float64 [M, 4], xyxy, where it would be; the box itself where nothing speaks for that.
    """

    scores: Floats
    proposed: Floats


class MissingBoxes(NamedTuple):
    """Found boxes that nothing annotated explains, the surest first.

    Attributes:
        rows: int64 [n], rows of the found.
        scores: float64 [n], 0..1.
    """

    rows: Ints
    scores: Floats


def shifted_boxes(found: FoundBoxes, truth: TrueBoxes) -> ShiftedBoxes:
    """How much surer it is that an object lies elsewhere than that it lies where it is annotated.

    Each found box speaks for the annotated one that it overlaps most. Against an object's place speaks the surest of
    its boxes, v = score x (1 - IoU); for it any found box that fits, a = the largest score x IoU ** 5. The score is
    v / (v + 2 a + 0.1). Classes are not compared: a wrong class is another fault.

    Args:
        found: out of fold, of all scores.
        truth: of the same P images; regions to ignore score 0.
    """
    objects = np.flatnonzero(~truth.crowds)
    corners = truth.corners
    pairs = overlapping((found.images, found.boxes), (truth.images[objects], corners[objects]), at_least=_TOUCHING)
    best = _first_of_each(pairs.first, -pairs.iou)
    speakers, of, overlap = pairs.first[best], objects[pairs.second[best]], pairs.iou[best]
    surest = _first_of_each(of, -found.scores[speakers])
    against, in_favour, proposed = np.zeros(len(corners)), np.zeros(len(corners)), corners.copy()
    against[of[surest]] = found.scores[speakers[surest]] * (1 - overlap[surest])
    np.maximum.at(in_favour, objects[pairs.second], found.scores[pairs.first] * pairs.iou**_FITTING)
    proposed[of[surest]] = found.boxes[speakers[surest]]
    return ShiftedBoxes(against / (against + 2 * in_favour + _NOISE), proposed)


def missing_boxes(found: FoundBoxes, truth: TrueBoxes, *, at_least: float = 0.05) -> MissingBoxes:
    """Boxes that were found where no object and no region to ignore is annotated, one for each place.

    The score is (the found box's) x (1 - twice its largest IoU with anything annotated); those that lie in an
    annotated box for more than a half are parts of that object.

    Args:
        found: out of fold.
        truth: of the same P images.
        at_least: found boxes of lower scores are left out.
    """
    known = overlapping((found.images, found.boxes), (truth.images, truth.corners), at_least=0.0)
    nearest, covered = np.zeros(len(found.scores)), np.zeros(len(found.scores))
    np.maximum.at(nearest, known.first, known.iou)
    np.maximum.at(covered, known.first, known.share)
    scores = found.scores * (1 - 2 * nearest).clip(0) * (covered <= _TAKEN)
    rows = np.flatnonzero((found.scores >= at_least) & (scores > 0))
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    rows = rows[_one_of_each_place(found.images[rows], found.boxes[rows])]
    return MissingBoxes(rows, scores[rows].clip(0, 1))


def _first_of_each(groups: Ints, order: Floats) -> Ints:
    """Of each group the place of its smallest ``order``; ties go to the first."""
    places = np.lexsort((order, groups))
    ordered = groups[places]
    return places[np.flatnonzero(np.diff(ordered, prepend=-1))]


def _one_of_each_place(images: Ints, boxes: Floats) -> npt.NDArray[np.bool_]:
    """Which of the boxes, the surest first, do not overlap a surer one of their image by more than a half."""
    order = np.argsort(images, kind="stable")
    pairs = overlapping((images, boxes), (images[order], boxes[order]), at_least=_TAKEN)
    surer, other = order[pairs.second], pairs.first
    earlier = surer < other
    surer, other = surer[earlier], other[earlier]
    kept = np.ones(len(images), np.bool_)
    # A box falls only to one that stands itself; chains of falling boxes are short, and so this ends soon.
    while True:
        now = np.ones(len(images), np.bool_)
        now[other[kept[surer]]] = False
        if (now == kept).all():
            return kept
        kept = now
