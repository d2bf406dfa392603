"""The score from which on boxes are shown best: where those that are right and those that are found are in balance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.metrics.box_hits import hits

_IOU = 0.5
"""Of a box and the object that it finds."""

_THRESHOLDS = np.arange(5, 100) / 100


class BestThreshold(NamedTuple):
    """One threshold for all classes.

    Attributes:
        threshold: of scores, in hundredths.
        f1: 2 TP / (2 TP + FP + FN) of the boxes from there on, at IoU 0.5, averaged over the classes that have objects.
    """

    threshold: float
    f1: float


def best_threshold(found: FoundBoxes, truth: TrueBoxes, count: int) -> BestThreshold | None:
    """Where F1 is best; the highest of several, and None where nothing is right from the lowest threshold on.

    Args:
        found: boxes of all images.
        truth: their objects.
        count: of classes, K.
    """
    objects = np.bincount(truth.labels[~truth.crowds], minlength=count)
    there = objects > 0
    if not there.any():
        return None
    went = hits(found, truth, least_iou=_IOU)
    shown = _counts(found, ~went.ignored, count)[:, there]
    right = _counts(found, went.ious > 0, count)[:, there]
    f1 = (2 * right / (shown + objects[there])).mean(axis=1)
    best = len(f1) - 1 - int(f1[::-1].argmax())
    return BestThreshold(float(_THRESHOLDS[best]), float(f1[best])) if f1[best] > 0 else None


def _counts(found: FoundBoxes, chosen: npt.NDArray[np.bool_], count: int) -> npt.NDArray[np.int64]:
    """How many of the chosen boxes have each label and at least each threshold's score: [thresholds, K]."""
    passed = np.searchsorted(_THRESHOLDS - 1e-6, found.scores[chosen], side="right")  # scores are float32
    cells = np.bincount(passed * count + found.labels[chosen], minlength=(len(_THRESHOLDS) + 1) * count)
    table = cells.reshape(-1, count)[1:]  # the first row passes none
    return np.asarray(table[::-1].cumsum(axis=0)[::-1])
