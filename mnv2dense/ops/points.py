"""Points instead of anchors: one in the middle of each cell, and boxes by the distances to their four sides.

FCOS (Tian et al. 2019, section 3.1), with distances in strides, so that all levels speak of numbers of the same size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def lay_points(sizes: Sequence[tuple[int, int]], strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The middle of every cell of every map.

    Args:
        sizes: (height, width) of each map, in cells.
        strides: pixels between neighbouring cells of each map.

    Returns:
        Points float32 [P, 2], (x, y) in pixels, ordered by map, row and column; and the stride of each, float32 [P].
    """
    points, steps = [], []
    for (rows, columns), stride in zip(sizes, strides, strict=True):
        y = (torch.arange(rows, dtype=torch.float32) + 0.5) * stride
        x = (torch.arange(columns, dtype=torch.float32) + 0.5) * stride
        points.append(torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).view(-1, 2))
        steps.append(torch.full((rows * columns,), float(stride)))
    return torch.cat(points), torch.cat(steps)


def boxes_at(distances: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Distances to the four sides -> boxes.

    Args:
        distances: [..., P, 4], left, top, right, bottom, in strides; of any floating type.
        points: [P, 2], (x, y), pixels.
        strides: [P], pixels.

    Returns:
        [..., P, 4], xyxy in pixels and the points' type, not clipped; degenerate where opposite sides have changed
        places.
    """
    pixels = distances.to(points.dtype) * strides[:, None]
    return torch.cat((points - pixels[..., :2], points + pixels[..., 2:]), dim=-1)


def distances_to(boxes: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Boxes -> distances to their four sides: the inverse of :func:`boxes_at`.

    Args:
        boxes: [..., P, 4], xyxy in pixels, one for each point.
        points: [P, 2], (x, y), pixels.
        strides: [P], pixels.

    Returns:
        [..., P, 4], left, top, right, bottom, in strides.
    """
    return torch.cat((points - boxes[..., :2], boxes[..., 2:] - points), dim=-1) / strides[:, None]
