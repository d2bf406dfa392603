"""Why average precision of boxes is not 1: six causes, and what each of them costs (TIDE, Bolya et al. 2020)."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.metrics.box_hits import MOST_BOXES, Indices, Overlaps, hits, overlaps, turns

CAUSES: Final = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")
"""The paper's names (section 2.2), in its order."""

CLS, LOC, BOTH, DUPE, BKG, MISS = range(6)
RIGHT: Final = -1
"""Of a box that found an object."""
LEFT_OUT: Final = -2
"""Of a box in a region to ignore, or past the 100 surest of its image and class: AP does not see it."""

FOREGROUND_IOU: Final = 0.5
"""The paper's t_f: from there on a box has an object."""
BACKGROUND_IOU: Final = 0.1
"""The paper's t_b: below it a box has nothing to do with an object."""

_RECALLS = np.linspace(0, 1, 101)

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


class BoxErrors(NamedTuple):
    """What became of N boxes and M objects of K classes, and AP at IoU 0.5 as it is and as it would be.

    Attributes:
        causes: int8 [N], a place in :data:`CAUSES`, or :data:`RIGHT` or :data:`LEFT_OUT`.
        objects: int64 [N], the object that a right box found, or that a wrong one overlaps most: one of its class for
            Loc and Dupe, of another for Cls and Both; -1 for Bkg.
        found: bool [M], by a right box.
        missed: bool [M], neither found nor within reach of a box of cause Cls or Loc: the objects of Miss.
        ap: [K], NaN of a class without objects.
        fixed: cause -> [K], AP with that cause alone mended; also of "FP", no wrong boxes, and "FN", no missed objects.
    """

    causes: npt.NDArray[np.int8]
    objects: Indices
    found: Bools
    missed: Bools
    ap: Floats
    fixed: dict[str, Floats]

    @property
    def cost(self) -> dict[str, float]:
        """Cause -> what mending it alone adds to AP50, averaged over the classes that have objects; 0 without any."""
        return {name: float(_mean(after) - _mean(self.ap)) for name, after in self.fixed.items()}

    @property
    def ap50(self) -> float:
        """As :class:`mnv2dense.metrics.CocoMeanAP` has it; 0 without objects."""
        return _mean(self.ap)

    def of_shown(self, shown: Bools, truth: TrueBoxes) -> BoxErrors:
        """The same of the boxes from some score on, bool [N]; AP and what it would be stay those of all.

        A surer box's cause does not hang on those below it; which objects are missed does.
        """
        causes, objects = self.causes[shown], self.objects[shown]
        found, missed = _fates(causes, objects, truth)
        return self._replace(causes=causes, objects=objects, found=found, missed=missed)


def box_errors(found: FoundBoxes, truth: TrueBoxes, count: int) -> BoxErrors:
    """The cause of every wrong box and missed object, and AP with each cause mended alone (sections 2.2 and 2.3).

    Boxes find objects at IoU 0.5 as :func:`mnv2dense.metrics.box_hits.hits` has it. Of those that find none and are
    not left out, the first that is so is the cause:

    - Loc: the best IoU with an object of its class is 0.1 up to below 0.5. Mended, the box is right.
    - Cls: the best IoU with an object of another class is 0.5 or more. Mended, it has that object's class and is right.
    - Dupe: IoU 0.5 or more with an object of its class, which a surer box has. Mended, it is gone.
    - Both: IoU 0.1 up to below 0.5 with an object of another class. Mended, it is gone.
    - Bkg: all IoUs are below 0.1. Mended, it is gone.

    Of several boxes of Loc and Cls at one object that nobody found, mending makes the surest right and the others go;
    at an object that is found, all go. Miss has the objects that no box found and no box of Loc and Cls is at; mended,
    they need not be found, as the paper has it. A class of which all are missed has AP 1 then where it has no box, else
    0.

    The order is that of the paper's own program, which the paper leaves open, and so is "the surest of Loc and Cls
    together". Regions to ignore are COCO's: a box at least half in one of its class is no error.

    Args:
        found: boxes of all images.
        truth: their objects.
        count: of classes, K.
    """
    went = hits(found, truth, least_iou=FOREGROUND_IOU)
    counted = ~went.ignored & (turns(found) < MOST_BOXES)
    # A box past the limit could have taken an object only after all that are within it, as it is less sure.
    right = counted & (went.objects >= 0)
    causes, objects = _causes(found, truth, counted & ~right)
    causes[right], objects[right] = RIGHT, went.objects[right]
    causes[~counted] = LEFT_OUT
    there, missed = _fates(causes, objects, truth)
    mended = _mended(found, causes, objects, there)

    positives = np.bincount(truth.labels[~truth.crowds], minlength=count)
    curve = _Curves(found, positives)
    fixed = {}
    for cause, name in enumerate(CAUSES):
        fewer = np.bincount(truth.labels[missed], minlength=count) if cause == MISS else 0
        labels, now = found.labels, mended & (causes == cause)
        if cause == CLS:
            labels = labels.copy()
            labels[now] = truth.labels[objects[now]]
        fixed[name] = curve.ap(right | now, counted & (right | now | (causes != cause)), labels, positives - fewer)
    fixed["FP"] = curve.ap(right, right, found.labels, positives)
    of_found = np.bincount(truth.labels[there], minlength=count)
    fixed["FN"] = curve.ap(right, counted, found.labels, of_found)
    return BoxErrors(causes, objects, there, missed, curve.ap(right, counted, found.labels, positives), fixed)


def _causes(found: FoundBoxes, truth: TrueBoxes, wrong: Bools) -> tuple[npt.NDArray[np.int8], Indices]:
    """Of the boxes that are wrong, and the object of each; the others are Bkg so far, without an object."""
    near = overlaps(found, truth, least_iou=BACKGROUND_IOU, apart=False)
    near = near.where(wrong[near.boxes])
    own = found.labels[near.boxes] == truth.labels[near.objects]
    own_iou, own_object = _best(near.where(own), len(wrong))
    other_iou, other_object = _best(near.where(~own), len(wrong))
    causes = np.select(
        [
            (own_iou >= BACKGROUND_IOU) & (own_iou < FOREGROUND_IOU),
            other_iou >= FOREGROUND_IOU,
            own_iou >= FOREGROUND_IOU,
            other_iou >= BACKGROUND_IOU,
        ],
        [LOC, CLS, DUPE, BOTH],
        BKG,
    ).astype(np.int8)
    return causes, np.where(np.isin(causes, (LOC, DUPE)), own_object, other_object)


def _best(near: Overlaps, count: int) -> tuple[Floats, Indices]:
    """IoU and object of each box where it overlaps most, the first of several; 0 and -1 where nowhere."""
    ious, objects = np.zeros(count), np.full(count, -1)
    order = np.lexsort((near.objects, -near.ious, near.boxes))
    boxes, first = np.unique(near.boxes[order], return_index=True)
    ious[boxes], objects[boxes] = near.ious[order][first], near.objects[order][first]
    return ious, objects


def _fates(causes: npt.NDArray[np.int8], objects: Indices, truth: TrueBoxes) -> tuple[Bools, Bools]:
    """Which objects are found, and which are missed with no box of Loc or Cls at them."""
    found, reached = np.zeros(len(truth.labels), np.bool_), np.zeros(len(truth.labels), np.bool_)
    found[objects[causes == RIGHT]] = True
    reached[objects[(causes == LOC) | (causes == CLS)]] = True
    return found, ~(truth.crowds | found | reached)


def _mended(found: FoundBoxes, causes: npt.NDArray[np.int8], objects: Indices, there: Bools) -> Bools:
    """The surest box of Loc or Cls at each object that is not found."""
    rows = np.flatnonzero((causes == LOC) | (causes == CLS))
    rows = rows[~there[objects[rows]]]
    rows = rows[np.argsort(-found.scores[rows], kind="stable")]
    mended = np.zeros(len(causes), np.bool_)
    mended[rows[np.unique(objects[rows], return_index=True)[1]]] = True
    return mended


class _Curves:
    """Average precision of the same boxes under several views of which are right, and of which class."""

    def __init__(self, found: FoundBoxes, positives: Indices) -> None:
        self._order = np.argsort(-found.scores, kind="stable")
        self._has_objects = positives > 0

    def ap(self, right: Bools, counted: Bools, labels: Indices, positives: Indices) -> Floats:
        """COCO's, over 101 recalls, of each class: [K].

        Args:
            right: bool [N].
            counted: bool [N], the boxes that there are.
            labels: int64 [N].
            positives: int64 [K], objects that must be found.
        """
        order = self._order[counted[self._order]]
        order = order[np.argsort(labels[order], kind="stable")]
        ends = np.searchsorted(labels[order], np.arange(len(positives) + 1))
        scores = np.full(len(positives), np.nan)
        for label in np.flatnonzero(self._has_objects):
            hit = right[order[ends[label] : ends[label + 1]]]
            scores[label] = _average_precision(hit, int(positives[label]))
        return scores


def _average_precision(right: Bools, positives: int) -> float:
    """Of boxes in the order of their scores."""
    if not positives:
        return float(not len(right))
    places = np.flatnonzero(right)
    if not len(places):
        return 0.0
    precision = np.arange(1, len(places) + 1) / (places + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    # Recall grows where a box is right, and nowhere else.
    first = np.searchsorted(np.arange(1, len(places) + 1) / positives, _RECALLS)
    return float(precision[first[first < len(places)]].sum() / len(_RECALLS))


def _mean(scores: Floats) -> float:
    told = scores[~np.isnan(scores)]
    return float(told.mean()) if told.size else 0.0
