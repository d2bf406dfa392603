"""Boxes of the same image that overlap: all pairs of many images at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.ops.numpy_boxes import areas, intersection, iou

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Pairs of boxes that are compared at once: 2 million are 100 MB.
_TOGETHER = 2_000_000


class Pairs(NamedTuple):
    """Boxes of the same image that overlap.

    Attributes:
        first: rows of the first columns, ascending.
        second: rows of the second columns.
        iou: intersection over union of each pair.
        share: of the first box, how much of it lies in the second.
    """

    first: Ints
    second: Ints
    iou: Floats
    share: Floats


def overlapping(first: tuple[Ints, Floats], second: tuple[Ints, Floats], *, at_least: float) -> Pairs:
    """All pairs of the same image whose IoU is above 0 and ``at_least``.

    Args:
        first: images int64 [N], in any order, and boxes [N, 4], xyxy.
        second: images int64 [M], ascending, and boxes [M, 4].
        at_least: IoU.
    """
    found = list(_chunks(first, second, at_least))
    return Pairs(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


def _chunks(first: tuple[Ints, Floats], second: tuple[Ints, Floats], at_least: float) -> Iterator[Pairs]:
    starts = np.searchsorted(second[0], first[0], side="left")
    counts = np.searchsorted(second[0], first[0], side="right") - starts
    ends = np.cumsum(counts)
    row = 0
    while True:
        stop = max(row + 1, int(np.searchsorted(ends, (ends[row - 1] if row else 0) + _TOGETHER, side="right")))
        stop = min(stop, len(counts))
        count = counts[row:stop]
        rows = np.repeat(np.arange(row, stop), count)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
        others = np.repeat(starts[row:stop], count) + within
        boxes, other = first[1][rows], second[1][others]
        overlap = iou(boxes, other)
        kept = (overlap > 0) & (overlap >= at_least)
        shared = intersection(boxes[kept], other[kept]) / np.maximum(areas(boxes[kept]), 1e-9)
        yield Pairs(rows[kept], others[kept], overlap[kept], shared)
        if stop >= len(counts):
            return
        row = stop
