"""What a model's input can show of the objects: how small they get, and what its anchors can meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.doctor.looks import Looks
from mnv2dense.ops.resize import ResizeMode, fit
from mnv2dense.types import BoxColumns
from mnv2dense.utils.spread import evenly

if TYPE_CHECKING:
    from torch import Tensor

# Of the objects, at most so many may be smaller than a cell of the finest map before another size is proposed.
_FEW = 0.05

_FACTORS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)

_MOST_IMAGES = 300


class SizeRow(NamedTuple):
    """What an input of one size does to the objects.

    Attributes:
        size: (height, width) in pixels.
        small: share of objects whose root of area is below ``stride`` pixels there, 0..1.
        met: share that can have an anchor of its own at IoU 0.5, 0..1; None of a head without anchors.
        cost: multiply-adds, as a factor of the chosen size's.
    """

    size: tuple[int, int]
    small: float
    met: float | None
    cost: float


class InputFit(NamedTuple):
    """See :func:`input_fit`.

    Attributes:
        stride: of the finest map that the head reads, pixels of the input.
        rows: the chosen size first, then larger ones.
        advised: the smallest of them at which few objects are smaller than a cell; None where none does, or the chosen
            one does.
    """

    stride: int
    rows: tuple[SizeRow, ...]
    advised: tuple[int, int] | None


def sides_at(looks: Looks, columns: BoxColumns, size: tuple[int, int], mode: ResizeMode) -> npt.NDArray[np.float64]:
    """Root of the area of each object in pixels of an input, float64 [N], without crowds and unread images."""
    chosen = _of_read_images(looks, columns)
    sizes, which = np.unique(looks.sizes[columns.images[chosen]], axis=0, return_inverse=True)
    scales = [fit(int(height), int(width), size, mode) for height, width in sizes]
    scale = np.array([(at.scale_x, at.scale_y) for at in scales], np.float64).reshape(-1, 2)[which.reshape(-1)]
    return np.asarray(np.sqrt(np.maximum(0, (columns.boxes[chosen, 2:] * scale).prod(axis=1))), np.float64)


def input_fit(
    looks: Looks,
    columns: BoxColumns,
    *,
    size: tuple[int, int],
    mode: ResizeMode,
    stride: int,
    anchors_at: Callable[[tuple[int, int]], Tensor | None],
) -> InputFit | None:
    """The chosen size and larger ones; None where there is no object in an image that can be read.

    Args:
        looks: of the images.
        columns: their boxes.
        size: (height, width) of the input that is meant.
        mode: how images get there.
        stride: of the finest map that the head reads, pixels.
        anchors_at: size -> its anchors, [A, 4], xyxy in pixels; None of a head without.
    """
    if not _of_read_images(looks, columns).any():
        return None
    rows: list[SizeRow] = []
    for factor in _FACTORS:
        tried = (round(size[0] * factor / 32) * 32 or 32, round(size[1] * factor / 32) * 32 or 32)
        if factor == 1:
            tried = size
        small = float((sides_at(looks, columns, tried, mode) < stride).mean())
        met = _met(looks, columns, anchors_at(tried), tried, mode)
        rows.append(SizeRow(tried, small, met, tried[0] * tried[1] / (size[0] * size[1])))
        if small <= _FEW:
            break
    enough = rows[-1].small <= _FEW and len(rows) > 1
    return InputFit(stride, tuple(rows), rows[-1].size if enough else None)


def _of_read_images(looks: Looks, columns: BoxColumns) -> npt.NDArray[np.bool_]:
    """Which boxes are objects whose image could be read."""
    return np.asarray(~columns.crowds & (looks.sizes[columns.images] > 0).all(axis=1))


def _met(
    looks: Looks, columns: BoxColumns, anchors: Tensor | None, size: tuple[int, int], mode: ResizeMode
) -> float | None:
    if anchors is None:
        return None
    import torch

    from mnv2dense.ops.boxes import xywh_to_xyxy
    from mnv2dense.ops.matching import anchor_recall
    from mnv2dense.ops.resize import boxes_to_input

    chosen = np.flatnonzero(_of_read_images(looks, columns))
    images = np.unique(columns.images[chosen])
    met = total = 0.0
    for image in images[evenly(len(images), _MOST_IMAGES)].tolist():
        rows = chosen[columns.images[chosen] == image]
        height, width = looks.sizes[image].tolist()
        at = fit(height, width, size, mode)
        boxes = boxes_to_input(
            xywh_to_xyxy(torch.from_numpy(columns.boxes[rows]).float()),
            torch.tensor([at.scale_x, at.scale_y]),
            torch.tensor([at.offset_x, at.offset_y]),
        )
        met += len(rows) * anchor_recall(anchors, boxes)
        total += len(rows)
    return met / total if total else None


def histogram(values: npt.NDArray[np.float64], bars: int = 24) -> tuple[tuple[float, float, int], ...]:
    """(from, to, how many) of bars of equal width on a logarithmic axis; none where no value is above 0."""
    positive = np.asarray(values, np.float64)
    positive = positive[positive > 0]
    if not len(positive):
        return ()
    low, high = float(positive.min()), float(positive.max())
    edges = np.geomspace(low, max(high, low * 1.01), bars + 1)
    edges[0], edges[-1] = low, max(high, low * 1.01)  # as they were, not as logarithms give them back
    counts, _ = np.histogram(positive, edges)
    return tuple((float(a), float(b), int(n)) for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True))
