"""F1 of the boxes of one image, soft: of any two images it says which went better, also while all scores are low."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mnv2dense.metrics.image_ranking import ImageScore
from mnv2dense.ops.numpy_boxes import areas, pairwise_intersection, pairwise_iou
from mnv2dense.types import SHOWN_SCORE

_LEAST_IOU = 0.1
"""Of a box and the object that it finds: hardly more than touching, as the IoU itself is part of the score."""

_LEAST_IGNORED = 0.5
"""The share of a box within a region to ignore from which it is left out."""

_SOFTENING = 0.1
"""Added above and below: an image in which all is missed is the worse the more there was, and none is 0."""

Boxes = npt.NDArray[np.float64]


def image_f1(found: npt.NDArray[np.float32], truth: Sequence[Mapping[str, Any]]) -> ImageScore | None:
    """2 TP / (2 TP + FP + FN), where a box counts by its score squared, and a hit also by its IoU.

    Boxes take objects of their class greedily, the surest box first, each object once. A box of which half lies in a
    region to ignore of its class is neither right nor wrong. Squared, the many boxes of low scores that a detector
    always has weigh next to nothing.

    Args:
        found: [N, 6]: x1, y1, x2, y2, score, label.
        truth: objects of the image as COCO's annotations, with labels for categories.

    Returns:
        Above 0 and at most 1, weighted by the number of objects and of boxes that are shown; None where there was
        nothing to find and nothing is shown.
    """
    found = found[np.argsort(-found[:, 4], kind="stable")].astype(np.float64)
    right = counted = 0.0
    objects = 0
    labels = {int(label) for label in found[:, 5]} | {row["category_id"] for row in truth}
    for label in sorted(labels):
        own = [row for row in truth if row["category_id"] == label]
        free = corners([row["bbox"] for row in own if not row["iscrowd"]])
        ignored = corners([row["bbox"] for row in own if row["iscrowd"]])
        objects += len(free)
        for row in found[found[:, 5] == label, None]:
            box, weight = row[:, :4], float(row[0, 4]) ** 2
            overlaps = pairwise_iou(box, free)[0]
            best = int(overlaps.argmax()) if len(free) else -1
            if best >= 0 and overlaps[best] >= _LEAST_IOU:
                right += weight * float(overlaps[best])
                free = np.delete(free, best, axis=0)
            elif (pairwise_intersection(box, ignored) >= _LEAST_IGNORED * areas(box)).any():
                continue
            counted += weight
    shown = int((found[:, 4] >= SHOWN_SCORE).sum())
    if objects + shown == 0:
        return None
    return ImageScore((2 * right + _SOFTENING) / (counted + objects + _SOFTENING), objects + shown)


def corners(boxes: list[list[float]]) -> Boxes:
    """COCO's x, y, width, height -> x1, y1, x2, y2."""
    table = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([table[:, :2], table[:, :2] + table[:, 2:]], axis=1)
