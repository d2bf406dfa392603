"""The score from which on boxes are shown best: where those that are right and those that are found are in balance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.metrics.image_f1 import corners
from mnv2dense.ops.numpy_boxes import areas, pairwise_intersection, pairwise_iou

_IOU = 0.5
"""Of a box and the object that it finds; and the share of a box in a crowd from which on it is left out."""

_THRESHOLDS = np.arange(5, 100) / 100

Boxes = npt.NDArray[np.float64]


class BestThreshold(NamedTuple):
    """One threshold for all classes.

    Attributes:
        threshold: of scores, in hundredths.
        f1: 2 TP / (2 TP + FP + FN) of the boxes from there on, at IoU 0.5, averaged over the classes that have objects.
    """

    threshold: float
    f1: float


def best_threshold(
    images: Iterable[tuple[npt.NDArray[np.float32], Sequence[Mapping[str, Any]]]], count: int
) -> BestThreshold | None:
    """Where F1 is best; the highest of several, and None where nothing is right from the lowest threshold on.

    Args:
        images: of each, boxes [N, 6]: x1, y1, x2, y2, score, label; and objects as COCO's annotations, with labels for
            categories.
        count: of classes.
    """
    objects = np.zeros(count)
    shown, right = (np.zeros((len(_THRESHOLDS), count)) for _ in range(2))
    for found, truth in images:
        for row in truth:
            objects[row["category_id"]] += not row["iscrowd"]
        found = found[found[:, 4] >= _THRESHOLDS[0]].astype(np.float64)
        for label in np.unique(found[:, 5]).astype(int):
            scores, hits = _judged(found[found[:, 5] == label], [row for row in truth if row["category_id"] == label])
            above = scores >= _THRESHOLDS[:, None] - 1e-6  # scores are float32
            shown[:, label] += above.sum(axis=1)
            right[:, label] += (above & hits).sum(axis=1)
    there = objects > 0
    if not there.any():
        return None
    f1 = (2 * right[:, there] / (shown[:, there] + objects[there])).mean(axis=1)
    best = len(f1) - 1 - int(f1[::-1].argmax())
    return BestThreshold(float(_THRESHOLDS[best]), float(f1[best])) if f1[best] > 0 else None


def _judged(found: Boxes, truth: Sequence[Mapping[str, Any]]) -> tuple[Boxes, npt.NDArray[np.bool_]]:
    """Scores of one class's boxes, the surest first, and whether each is right; without those in crowds."""
    found = found[np.argsort(-found[:, 4], kind="stable")]
    overlaps = pairwise_iou(found[:, :4], corners([row["bbox"] for row in truth if not row["iscrowd"]]))
    crowds = corners([row["bbox"] for row in truth if row["iscrowd"]])
    in_crowd = (pairwise_intersection(found[:, :4], crowds) >= _IOU * areas(found[:, :4])[:, None]).any(axis=1)
    hits = np.zeros(len(found), bool)
    for place, row in enumerate(overlaps):
        if row.size and row.max() >= _IOU:
            hits[place] = True
            overlaps[:, row.argmax()] = -1  # each object is found once
    counts = hits | ~in_crowd
    return found[counts, 4], hits[counts]
