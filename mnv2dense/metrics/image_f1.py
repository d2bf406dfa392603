"""F1 of the boxes of one picture: what a user sees of it, in a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mnv2dense.metrics.image_ranking import ImageScore
from mnv2dense.ops.numpy_boxes import areas, pairwise_intersection, pairwise_iou
from mnv2dense.types import SHOWN_SCORE

_LEAST_IOU = 0.5
"""Of a box and the object that it finds; and the share of a box within a region to ignore from which it is left out."""

Boxes = npt.NDArray[np.float64]


def image_f1(found: npt.NDArray[np.float32], truth: Sequence[Mapping[str, Any]]) -> ImageScore | None:
    """2 TP / (2 TP + FP + FN) of the boxes that are shown, at IoU 0.5.

    Boxes take objects of their class greedily, the surest box first, each object once. A box of which half lies in a
    region to ignore of its class is neither right nor wrong.

    Args:
        found: [N, 6]: x1, y1, x2, y2, score, label.
        truth: objects of the picture as COCO's annotations, with labels for categories.

    Returns:
        The score, weighted by the number of objects and wrong boxes; None where there was nothing to find and nothing
        was found.
    """
    shown = found[found[:, 4] >= SHOWN_SCORE]
    shown = shown[np.argsort(-shown[:, 4], kind="stable")]
    right = wrong = objects = 0
    labels = {int(label) for label in shown[:, 5]} | {row["category_id"] for row in truth}
    for label in sorted(labels):
        own = [row for row in truth if row["category_id"] == label]
        free = _corners([row["bbox"] for row in own if not row["iscrowd"]])
        ignored = _corners([row["bbox"] for row in own if row["iscrowd"]])
        objects += len(free)
        for box in shown[shown[:, 5] == label, None, :4].astype(np.float64):
            overlaps = pairwise_iou(box, free)[0]
            if len(free) and overlaps.max() >= _LEAST_IOU:
                free = np.delete(free, int(overlaps.argmax()), axis=0)
                right += 1
            elif not (pairwise_intersection(box, ignored) >= _LEAST_IOU * areas(box)).any():
                wrong += 1
    if objects + wrong == 0:
        return None
    return ImageScore(2 * right / (right + wrong + objects), objects + wrong)


def _corners(boxes: list[list[float]]) -> Boxes:
    """COCO's x, y, width, height -> x1, y1, x2, y2."""
    table = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([table[:, :2], table[:, :2] + table[:, 2:]], axis=1)
