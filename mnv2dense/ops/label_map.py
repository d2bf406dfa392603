"""Which class every pixel of an image has, from logits on a coarse grid: bilinear upsampling and argmax in one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mnv2dense.ops.cells import cells_at

# Pixels at a time, down and across: 21 classes of a 12-megapixel image at once would be a gigabyte.
_ROWS, _COLUMNS = 128, 8192

_BLOCK = 12
"""Pixels of a block's side, at most."""

_WORTH = 8
"""Pixels of a block on average: where they are fewer, looking at each pixel is as cheap as bounding blocks of them."""

_ROUNDING = 1e-6
"""Of the largest logit: by how much rounding may carry an interpolated value past the ones it lies between."""


class Samples(NamedTuple):
    """Where pixels of one side of the original image read the logits: between cells ``low`` and ``high``.

    Attributes:
        low: int64 [P], rising.
        high: int64 [P], the cell after ``low``, or ``low`` itself at the edge.
        share: float32 [P], of ``high``, 0..1.
    """

    low: Tensor
    high: Tensor
    share: Tensor

    @classmethod
    def of(
        cls, pixels: int, scale: float, offset: float, input_pixels: int, cells: int, align_corners: bool
    ) -> Samples:
        """Pixel centres, through the geometry of the resize, onto the grid of logits; clamped to it."""
        at_input = (torch.arange(pixels, dtype=torch.float64) + 0.5) * scale + offset
        at = cells_at(at_input, length=input_pixels, cells=cells, align_corners=align_corners).clamp(0, cells - 1)
        low = at.floor()
        return cls(low.long(), (low.long() + 1).clamp_max(cells - 1), (at - low).float())

    def at(self, pixels: Tensor | slice) -> Samples:
        """Those of some of the pixels."""
        return Samples(*(part[pixels] for part in self))

    def to(self, device: torch.device) -> Samples:
        """The same on another device."""
        return Samples(*(part.to(device) for part in self))


def label_map(logits: Tensor, vertical: Samples, horizontal: Samples) -> Tensor:
    """The class whose interpolated logit is the highest, of every pixel; of equal ones the first.

    On a CPU only what can matter is interpolated: within a block of pixels between the same four cells a bilinear
    surface lies between its values at the block's corners, so a class that stays below another's lowest corner wins
    nowhere in it. Most blocks are left with one class; the pixels of the others are decided among those that are left,
    by the same arithmetic. On other devices every pixel is.

    Args:
        logits: float32 [K, h, w].
        vertical: where each of the H rows reads.
        horizontal: where each of the W columns reads.

    Returns:
        uint8 [H, W].
    """
    if logits.device.type != "cpu":
        return every_pixel(logits, vertical, horizontal)
    across_all, down_all = _Blocks.of(horizontal.low), _Blocks.of(vertical.low)
    blocks = len(across_all.first) * len(down_all.first)
    slack = logits.abs().amax() * _ROUNDING
    if len(vertical.low) * len(horizontal.low) < _WORTH * blocks or not torch.isfinite(slack):
        return every_pixel(logits, vertical, horizontal)
    cells = logits.permute(1, 2, 0).contiguous()
    labels = torch.empty(len(vertical.low), len(horizontal.low), dtype=torch.uint8)
    for columns, across in across_all.parts(_COLUMNS // _BLOCK):
        for rows, down in down_all.parts(max(1, _ROWS * _COLUMNS // _BLOCK // len(across.first))):
            labels[rows, columns] = _tile(cells, vertical.at(rows), horizontal.at(columns), down, across, slack)
    return labels


def every_pixel(logits: Tensor, vertical: Samples, horizontal: Samples) -> Tensor:
    """What :func:`label_map` gives, by interpolating every class at every pixel, a tile of pixels at a time."""
    height, width = len(vertical.low), len(horizontal.low)
    labels = torch.empty(height, width, dtype=torch.uint8, device=logits.device)
    for left in range(0, width, _COLUMNS):
        columns = slice(left, left + _COLUMNS)
        for top in range(0, height, _ROWS):
            rows = slice(top, top + _ROWS)
            labels[rows, columns] = _upsampled(logits, vertical.at(rows), horizontal.at(columns)).argmax(dim=0)
    return labels


class _Blocks(NamedTuple):
    """Runs of pixels of one side that lie between the same two cells: the first and the last pixel of each."""

    first: Tensor
    last: Tensor

    @classmethod
    def of(cls, low: Tensor) -> _Blocks:
        places = torch.arange(len(low))
        begins = torch.ones(len(low), dtype=torch.bool)
        begins[1:] = low[1:] != low[:-1]
        of_cell = places[begins]
        lengths = torch.diff(of_cell, append=torch.tensor([len(low)]))
        since = places - of_cell.repeat_interleave(lengths)
        parts = (lengths + _BLOCK - 1) // _BLOCK
        side = ((lengths + parts - 1) // parts).repeat_interleave(lengths)  # those of a cell are about alike
        first = places[since % side == 0]
        return cls(first, torch.cat([first[1:] - 1, places[-1:]]))

    def parts(self, count: int) -> Iterator[tuple[slice, _Blocks]]:
        """The pixels of so many blocks at a time, and the blocks, counted from the first of these pixels."""
        for first, last in zip(torch.split(self.first, count), torch.split(self.last, count), strict=True):
            start = int(first[0])
            yield slice(start, int(last[-1]) + 1), _Blocks(first - start, last - start)

    def pixels(self, chosen: Tensor) -> Tensor:
        """[n, side]: those of the chosen blocks; the last of a shorter one again."""
        side = int((self.last - self.first).max()) + 1
        return torch.minimum(self.first[chosen, None] + torch.arange(side), self.last[chosen, None])

    def labelled(self, values: Tensor, dim: int) -> Tensor:
        """A value for each block -> for each pixel."""
        return values.repeat_interleave(self.last - self.first + 1, dim=dim)


def _upsampled(logits: Tensor, vertical: Samples, horizontal: Samples) -> Tensor:
    """[K, h, w] -> [K, rows, columns], bilinear."""
    wide = torch.lerp(logits[..., horizontal.low], logits[..., horizontal.high], horizontal.share)
    return torch.lerp(wide[:, vertical.low], wide[:, vertical.high], vertical.share[:, None])


def _corners(cells: Tensor, vertical: Samples, horizontal: Samples) -> Tensor:
    """[h, w, K] -> [rows, columns, K], bilinear: of few pixels far apart, whose classes lie side by side."""
    left, right = (cells.index_select(1, side) for side in (horizontal.low, horizontal.high))
    wide = torch.lerp(left, right, horizontal.share[:, None])
    upper, lower = (wide.index_select(0, side) for side in (vertical.low, vertical.high))
    return torch.lerp(upper, lower, vertical.share[:, None, None])


def _tile(
    cells: Tensor, vertical: Samples, horizontal: Samples, down: _Blocks, across: _Blocks, slack: Tensor
) -> Tensor:
    """Labels of the rows of ``vertical`` and the columns of ``horizontal``, from logits [h, w, K]."""
    corners = _corners(cells, vertical.at(torch.cat(down)), horizontal.at(torch.cat(across)))
    rows, columns = len(down.first), len(across.first)
    sides = corners[:rows], corners[rows:]
    least, most = torch.minimum(*sides), torch.maximum(*sides)
    least = torch.minimum(least[:, :columns], least[:, columns:])
    most = torch.maximum(most[:, :columns], most[:, columns:])
    floor, winner = least.max(dim=2)
    may_win = most >= (floor - slack)[..., None]
    labels = down.labelled(across.labelled(winner.to(torch.uint8), 1), 0)
    row, column = (may_win.sum(dim=2) > 1).nonzero(as_tuple=True)
    if len(row):
        down_pixels, across_pixels = down.pixels(row), across.pixels(column)
        labels[down_pixels[:, :, None], across_pixels[:, None, :]] = _contested(
            cells, vertical.at(down_pixels), horizontal.at(across_pixels), may_win[row, column]
        )
    return labels


def _contested(cells: Tensor, vertical: Samples, horizontal: Samples, may_win: Tensor) -> Tensor:
    """The classes of the pixels of n blocks.

    Args:
        cells: logits [h, w, K].
        vertical: where the rows of each block read, [n, side]; all between the same two cells.
        horizontal: where the columns do.
        may_win: bool [n, K], two or more of each block.

    Returns:
        uint8 [n, side, side].
    """
    block, label = may_win.nonzero(as_tuple=True)  # of each block its classes, rising
    counts = may_win.sum(dim=1)
    starts = counts.cumsum(0) - counts

    flat = cells.flatten()

    def at(rows: Tensor, columns: Tensor) -> Tensor:
        place = rows[:, 0] * cells.shape[1] + columns[:, 0]
        return flat.index_select(0, place.index_select(0, block) * cells.shape[2] + label)[:, None]

    share = horizontal.share[block]
    upper = torch.lerp(at(vertical.low, horizontal.low), at(vertical.low, horizontal.high), share)
    lower = torch.lerp(at(vertical.high, horizontal.low), at(vertical.high, horizontal.high), share)
    values = torch.lerp(upper[:, None, :], lower[:, None, :], vertical.share[block][:, :, None])
    best, won = values[starts], label[starts].to(torch.uint8)[:, None, None].expand_as(values[starts]).clone()
    for rank in range(1, int(counts.max())):
        (still,) = (counts > rank).nonzero(as_tuple=True)
        pair = starts[still] + rank
        better = values[pair] > best[still]
        best[still] = torch.where(better, values[pair], best[still])
        won[still] = torch.where(better, label[pair].to(torch.uint8)[:, None, None], won[still])
    return won
