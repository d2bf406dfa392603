"""Default boxes of SSD: a fixed set of anchors spread over the maps of a feature pyramid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

ANCHOR_SCALES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
"""Share of the image's side that a square anchor takes, for each map of SSDLite, finest first."""

# The finest map's smallest anchor: half of its scale, as in TensorFlow's ``reduce_boxes_in_lowest_layer``.
_SMALLEST_SCALE = 0.1

_RATIOS = (1.0, 2.0, 1 / 2, 3.0, 1 / 3)


def map_sizes(image_size: tuple[int, int], *, first_stride: int = 16, count: int = 6) -> list[tuple[int, int]]:
    """(height, width) of the pyramid's maps: the first at ``first_stride``, each next one half of the last.

    Stride-2 convolutions with padding round up, and so does this: 300 pixels give 19, 10, 5, 3, 2, 1 cells.

    Args:
        image_size: (height, width) of the model's input, pixels.
        first_stride: pixels between neighbouring cells of the first map.
        count: the number of maps.
    """
    height, width = image_size
    strides = [first_stride * 2**level for level in range(count)]
    return [(math.ceil(height / stride), math.ceil(width / stride)) for stride in strides]


def anchors_per_cell(*, maps: int = len(ANCHOR_SCALES), first_map_anchors: Literal[3, 6] = 3) -> tuple[int, ...]:
    """Anchors at each cell, for each map: (3, 6, 6, 6, 6, 6) for SSDLite.

    Args:
        maps: the number of maps.
        first_map_anchors: 3 keeps the finest map, which has most cells, light; 6 treats it as the rest.

    Raises:
        ValueError: ``first_map_anchors`` is neither 3 nor 6.
    """
    if first_map_anchors not in (3, 6):
        raise ValueError(f"first_map_anchors is {first_map_anchors}: a first map has 3 anchors a cell, or 6.")
    return (first_map_anchors, *[6] * (maps - 1))


def default_boxes(
    sizes: Sequence[tuple[int, int]],
    image_size: tuple[int, int],
    *,
    scales: Sequence[float] = ANCHOR_SCALES,
    first_map_anchors: Literal[3, 6] = 3,
) -> Tensor:
    """The default boxes (SSD, section 2.2), with the scales and ratios of MobileNetV2's TensorFlow config.

    An anchor of scale s and ratio r is s * sqrt(r) of the image's width wide and s / sqrt(r) of its height
    high: in an image that is not square, anchors of ratio 1 have the image's shape. Each map has the
    ratios 1, 2, 1/2, 3, 1/3 at its scale, and one more of ratio 1 between its scale and the next map's.

    Args:
        sizes: (height, width) of each map, in cells, finest first; see :func:`map_sizes`.
        image_size: (height, width) of the model's input, pixels.
        scales: one for each map.
        first_map_anchors: with 3, the first map has ratio 1 at scale 0.1 and ratios 2 and 1/2 at its scale.

    Returns:
        float32 [A, 4], xyxy in pixels, not clipped, ordered by map, row, column and anchor of the cell: the
        order of a predictor's [B, n * 4, h, w] seen as [B, h, w, n, 4].

    Raises:
        ValueError: there are more or fewer scales than maps.
    """
    if len(scales) != len(sizes):
        raise ValueError(
            f"{len(scales)} anchor scales for {len(sizes)} feature maps: each map needs one. "
            f"Give {len(sizes)} scales between 0 and 1, finest map first."
        )
    counts = anchors_per_cell(maps=len(sizes), first_map_anchors=first_map_anchors)
    next_scales = (*scales[1:], 1.0)
    levels = []
    for size, scale, next_scale, count in zip(sizes, scales, next_scales, counts, strict=True):
        if count == 3:
            shapes = [(_SMALLEST_SCALE, 1.0), (scale, 2.0), (scale, 1 / 2)]
        else:
            shapes = [(scale, ratio) for ratio in _RATIOS] + [(math.sqrt(scale * next_scale), 1.0)]
        levels.append(_one_map(size, shapes))
    height, width = image_size
    return torch.cat(levels) * torch.tensor([width, height, width, height])


def _one_map(size: tuple[int, int], shapes: Sequence[tuple[float, float]]) -> Tensor:
    """Anchors of one map, [h * w * n, 4], xyxy as shares of the image, from n (scale, ratio) pairs."""
    rows, columns = size
    y = (torch.arange(rows) + 0.5) / rows
    x = (torch.arange(columns) + 0.5) / columns
    centres = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).view(rows, columns, 1, 2)
    half_sizes = torch.tensor([[s * math.sqrt(r) / 2, s / math.sqrt(r) / 2] for s, r in shapes])
    return torch.cat((centres - half_sizes, centres + half_sizes), dim=-1).view(-1, 4)
