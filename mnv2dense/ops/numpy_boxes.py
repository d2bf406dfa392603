"""Overlaps of a few boxes in numpy, for what runs beside the model: augmentation in workers, scores of one image.

:mod:`mnv2dense.ops.boxes` is for tensors on any device. A handful of boxes a call, thousands of calls a second, is what
torch's dispatch is slowest at, and workers must not begin threads of torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.floating[Any]] | npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float64]


def areas(boxes: Boxes) -> Floats:
    """Xyxy [..., 4] -> [...]."""
    # Not prod(), which takes five times as long on two numbers of each of many.
    return np.asarray((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]), np.float64)


def intersection(first: Boxes, second: Boxes) -> Floats:
    """Shared area of boxes at the same place, xyxy: [..., 4] and [..., 4] that broadcast -> [...]."""
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., 2:], second[..., 2:])
    sides = np.maximum(high - low, 0)
    return np.asarray(sides[..., 0] * sides[..., 1], np.float64)


def iou(first: Boxes, second: Boxes) -> Floats:
    """Intersection over union of boxes at the same place, xyxy: [..., 4] and [..., 4] that broadcast -> [...], 0..1."""
    shared = intersection(first, second)
    union = areas(first) + areas(second) - shared
    return np.asarray(shared / np.maximum(union, 1e-9))  # two boxes without area have neither


def pairwise_intersection(first: Boxes, second: Boxes) -> Floats:
    """Shared area of every pair, xyxy: [N, 4] and [M, 4] -> [N, M]."""
    return intersection(first[:, None], second)


def pairwise_iou(first: Boxes, second: Boxes) -> Floats:
    """Intersection over union of every pair, xyxy: [N, 4] and [M, 4] -> [N, M], 0..1."""
    return iou(first[:, None], second)
