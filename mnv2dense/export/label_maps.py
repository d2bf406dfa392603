"""Logits on a map -> the class of every pixel, in operators that a runtime is quick at; each runtime has its own.

All of them interpolate as products with constant matrices, which runtimes compute several times faster than they
interpolate one class after another, and decide a strip of rows at a time: an eighth of all scores in memory, not all.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mnv2dense.ops.cells import cells_at

# The scores of one take 2.8 MB at 513x513 and 21 classes, which a core's cache still holds.
_STRIPS = 8

# A power of two changes no score but its exponent. Scores from 2**-60 to 2**27 then stay finite and, where they are
# unequal, lie further apart than there are classes.
_FAR_APART = 2.0**100


class LabelMaps(Protocol):
    """What the functions of this module are."""

    def __call__(self, logits: Tensor, size: tuple[int, int], *, align_corners: bool) -> Tensor:
        """Float32 [B, K, h, w] -> uint8 [B, H, W]."""
        ...


def label_map(logits: Tensor, size: tuple[int, int], *, align_corners: bool) -> Tensor:
    """Bilinear upsampling and argmax.

    Args:
        logits: float32 [B, K, h, w].
        size: (H, W), pixels.
        align_corners: see :class:`mnv2dense.ops.postprocess.PixelSelection`.

    Returns:
        uint8 [B, H, W]; of equal scores the lowest class.
    """
    # Under torch's tracer sizes are tensors.
    down = _strips(int(logits.shape[2]), int(size[0]), align_corners=align_corners)
    across = _strips(int(logits.shape[3]), int(size[1]), align_corners=align_corners)
    wide = torch.cat([logits[..., cells] @ shares.T for cells, shares in across], dim=3)
    return torch.cat([(shares @ wide[:, :, cells]).argmax(dim=1) for cells, shares in down], dim=1).to(torch.uint8)


def label_map_classes_last(logits: Tensor, size: tuple[int, int], *, align_corners: bool) -> Tensor:
    """The same as :func:`label_map`, of one image: for runtimes that compare a pixel's classes side by side sooner.

    LiteRT needs 9 ms instead of 26 for a map of 513x513 and 21 classes, OpenVINO 24 instead of 5.

    Args:
        logits: float32 [1, K, h, w].
        size: (H, W), pixels.
        align_corners: see :class:`mnv2dense.ops.postprocess.PixelSelection`.
    """
    classes, height, width = (int(side) for side in logits.shape[1:])
    cells_last = logits[0].permute(1, 2, 0)
    across = _strips(width, int(size[1]), align_corners=align_corners)
    strips = []
    for cells, shares in _strips(height, int(size[0]), align_corners=align_corners):
        rows = (shares @ cells_last[cells].reshape(-1, width * classes)).reshape(-1, width, classes)
        strips.append(torch.cat([(part @ rows[:, columns]).argmax(dim=2) for columns, part in across], dim=1))
    return torch.cat(strips)[None].to(torch.uint8)


def label_map_pooled(logits: Tensor, size: tuple[int, int], *, align_corners: bool) -> Tensor:
    """The same as :func:`label_map`, for delegates that have maxima but cannot say where they are, as XNNPACK's.

    Interpolations are 1x1 convolutions, the rows of a strip their channels, and maxima over the classes are pools. What
    a score lacks to the highest, plus K for the first class, K - 1 for the second and so on: the maximum of that names
    the class, as all that are not the highest lack more than K.

    ExecuTorch needs 11 ms instead of 26 for a map of 513x513 and 21 classes.

    Args:
        logits: float32 [B, K, h, w].
        size: (H, W), pixels.
        align_corners: see :class:`mnv2dense.ops.postprocess.PixelSelection`.
    """
    classes, height, width = (int(side) for side in logits.shape[1:])
    if classes == 1:  # there are no pools of one
        return label_map(logits, size, align_corners=align_corners)
    ((columns, across),) = _strips(width, int(size[1]), align_corners=align_corners, count=1)
    order = torch.arange(classes, 0, -1, dtype=torch.float32)[None, None, :, None]
    # A part that is the whole would stay in the graph, as a copy outside the delegate.
    read = logits if columns == slice(0, width) else logits[..., columns]
    wide = F.conv2d(read.permute(0, 3, 1, 2), (across * _FAR_APART)[:, :, None, None]).permute(0, 3, 2, 1)
    strips = []
    for cells, shares in _strips(height, int(size[0]), align_corners=align_corners):
        scores = F.conv2d(wide[:, cells], shares[:, :, None, None])  # [B, rows, K, W]
        lacking = scores - F.max_pool2d(scores, (classes, 1))
        strips.append(F.max_pool2d(lacking + order, (classes, 1)))
    # A float, as an integer would be turned into one at every run.
    return (float(classes) - torch.cat(strips, dim=1)).reshape(-1, *size).to(torch.uint8)


def _strips(cells: int, pixels: int, *, align_corners: bool, count: int = _STRIPS) -> list[tuple[slice, Tensor]]:
    """The pixels along one side in strips of length P: the C cells that each lies on, and [P, C] of their shares.

    There are at most ``count`` strips. A cell's share in a pixel is their nearness, from 1 where the centres meet to 0
    at the distance of the next cell.
    """
    # Numbers, not a tensor: torch.export would take what is in one for unknown.
    at = (cells_at(pixel + 0.5, length=pixels, cells=cells, align_corners=align_corners) for pixel in range(pixels))
    places = [min(max(place, 0.0), float(cells - 1)) for place in at]
    strips, length = [], math.ceil(pixels / count)
    for start in range(0, pixels, length):
        strip = places[start : start + length]
        first, end = int(strip[0]), min(int(strip[-1]) + 2, cells)
        # In numpy, or it would be computed at every run.
        distances = np.asarray(strip, np.float32)[:, None] - np.arange(first, end, dtype=np.float32)
        shares = np.clip(1 - np.abs(distances), 0, None)
        strips.append((slice(first, end), torch.from_numpy(shares)))
    return strips
