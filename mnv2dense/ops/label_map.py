"""Which class every pixel of an image has, from logits on a coarse grid: bilinear upsampling and argmax in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mnv2dense.ops.cells import cells_at

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[Any]

# Pixels at a time, down and across: 21 classes of a 12-megapixel image at once would be a gigabyte.
_ROWS, _COLUMNS = 128, 8192

_BLOCK = 12
"""Pixels of a block's side, at most."""

_WORTH = 8
"""Pixels of a block on average: where they are fewer, looking at each pixel is as cheap as bounding blocks of them."""

_TOGETHER = 4096
"""Blocks that are decided at once: where any of 21 classes may win, their pixels have 50 MB of values."""

_ROUNDING = 4e-6
"""Of the largest logit: by how much rounding may part values that were interpolated in two ways."""


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

    On a CPU only what can matter is interpolated: between four cells a bilinear surface lies within their values, so a
    class that stays below the lowest of another's wins nowhere there. Most places are left with one class. In the
    others a block of pixels is bounded by its own corners in the same way, and the pixels of what is still open are
    decided among the classes that are left, by the same arithmetic. On other devices every pixel is.

    Args:
        logits: float32 [K, h, w].
        vertical: where each of the H rows reads.
        horizontal: where each of the W columns reads.

    Returns:
        uint8 [H, W].
    """
    if logits.device.type != "cpu":
        return every_pixel(logits, vertical, horizontal)
    down, across = _Blocks.of(vertical), _Blocks.of(horizontal)
    pixels, blocks = len(vertical.low) * len(horizontal.low), len(down.first) * len(across.first)
    grid = logits.detach().contiguous().numpy()
    slack = np.abs(grid).max() * np.float32(_ROUNDING)
    if pixels < _WORTH * blocks or not np.isfinite(slack):
        return every_pixel(logits, vertical, horizontal)
    winner, may_win = _by_cells(grid, slack)
    winners = winner[down.low][:, across.low]
    undecided = (may_win.sum(axis=2) > 1)[down.low][:, across.low].nonzero()
    decided = []
    for start in range(0, len(undecided[0]), _TOGETHER):
        row, column = (part[start : start + _TOGETHER] for part in undecided)
        rivals = _Rivals.of(may_win[down.low[row], across.low[column]], grid, down, across, row, column)
        rivals = rivals.within(down.ends[:, row], across.ends[:, column], slack)
        winners[row, column] = rivals.label[rivals.starts]
        several = rivals.counts > 1
        if several.any():
            rows, columns = down.pixels(row[several]), across.pixels(column[several])
            found = rivals.of_blocks(several).winners(vertical.share[rows], horizontal.share[columns])
            decided.append((rows[:, :, None], columns[:, None, :], found))
    # Rows last, which are copied whole.
    labels = torch.from_numpy(winners[:, across.of_pixel][down.of_pixel])
    for rows, columns, found in decided:
        labels[rows, columns] = found
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


def _upsampled(logits: Tensor, vertical: Samples, horizontal: Samples) -> Tensor:
    """[K, h, w] -> [K, rows, columns], bilinear."""
    wide = torch.lerp(logits[..., horizontal.low], logits[..., horizontal.high], horizontal.share)
    return torch.lerp(wide[:, vertical.low], wide[:, vertical.high], vertical.share[:, None])


class _Blocks(NamedTuple):
    """Runs of pixels of one side that lie between the same two cells.

    Attributes:
        first, last: int64 [N], the first and the last pixel of each.
        low, high: int64 [N], the cells.
        ends: float32 [2, N], the share of ``high`` in the first and the last pixel.
        of_pixel: int64, of each pixel its block.
    """

    first: Numbers
    last: Numbers
    low: Numbers
    high: Numbers
    ends: Numbers
    of_pixel: Numbers

    @classmethod
    def of(cls, side: Samples) -> _Blocks:
        low, high, share = (part.numpy() for part in side)
        (of_cell,) = np.diff(low, prepend=-1).nonzero()
        lengths = np.diff(of_cell, append=len(low))
        since = np.arange(len(low)) - of_cell.repeat(lengths)
        parts = (lengths + _BLOCK - 1) // _BLOCK
        is_first = since % ((lengths + parts - 1) // parts).repeat(lengths) == 0  # those of a cell are about alike
        (first,) = is_first.nonzero()
        last = np.append(first[1:], len(low)) - 1
        return cls(first, last, low[first], high[first], share[np.stack((first, last))], is_first.cumsum() - 1)

    def pixels(self, chosen: Numbers) -> Tensor:
        """[n, side]: those of the chosen blocks; the last of a shorter one again."""
        side = int((self.last - self.first).max()) + 1
        return torch.from_numpy(np.minimum(self.first[chosen, None] + np.arange(side), self.last[chosen, None]))


def _by_cells(grid: Numbers, slack: Numbers) -> tuple[Numbers, Numbers]:
    """Of the places between each cell of [K, h, w] and the next ones: the likeliest class, and which may win somewhere.

    Returns:
        uint8 [h, w], and bool [h, w, K].
    """
    least = most = grid
    for axis in (1, 2):
        after = np.minimum(np.arange(grid.shape[axis]) + 1, grid.shape[axis] - 1)
        least = np.minimum(least, least.take(after, axis))
        most = np.maximum(most, most.take(after, axis))
    may_win = most >= least.max(axis=0) - slack
    return least.argmax(axis=0).astype(np.uint8), np.ascontiguousarray(may_win.transpose(1, 2, 0))


class _Rivals(NamedTuple):
    """Classes that may win somewhere in n blocks of pixels, each of which lies between four cells.

    Attributes:
        counts: int64 [n], at least one of each block; P in all, one block's after the other's.
        label: int64 [P], of each block rising.
        cells: float32 [4, P], the logits of the class at the block's cells: upper left and right, lower left and right.
    """

    counts: Numbers
    label: Numbers
    cells: Numbers

    @classmethod
    def of(
        cls, may_win: Numbers, grid: Numbers, down: _Blocks, across: _Blocks, row: Numbers, column: Numbers
    ) -> _Rivals:
        """From bool [n, K], logits [K, h, w], and which blocks these are."""
        block, label = may_win.nonzero()
        rows, columns = (down.low[row], down.high[row]), (across.low[column], across.high[column])
        corners = np.stack([y * grid.shape[2] + x for y in rows for x in columns])
        places = corners[:, block] + label * grid[0].size
        return cls(may_win.sum(axis=1), label, grid.ravel()[places])

    @property
    def starts(self) -> Numbers:
        """Where each block's begin."""
        starts: Numbers = self.counts.cumsum() - self.counts
        return starts

    def of_each(self, of_block: Numbers) -> Numbers:
        """Something of each block, [..., n], for each of its classes, [..., P]."""
        return of_block.repeat(self.counts, axis=-1)

    def some(self, kept: Numbers) -> _Rivals:
        """Those where bool [P] says so, at least one of each block."""
        return _Rivals(np.add.reduceat(kept, self.starts, dtype=np.int64), self.label[kept], self.cells[:, kept])

    def of_blocks(self, kept: Numbers) -> _Rivals:
        """Those of the blocks where bool [n] says so."""
        of_these = self.of_each(kept)
        return _Rivals(self.counts[kept], self.label[of_these], self.cells[:, of_these])

    def within(self, y: Numbers, x: Numbers, slack: Numbers) -> _Rivals:
        """Without those that win nowhere between two rows and two columns of each block, shares [2, n]."""
        corners = _between(self.cells[:, None, None], self.of_each(y)[:, None], self.of_each(x)).reshape(4, -1)
        floor = np.maximum.reduceat(corners.min(axis=0), self.starts)
        return self.some(corners.max(axis=0) >= self.of_each(floor - slack))

    def winners(self, y: Tensor, x: Tensor) -> Tensor:
        """The best of each of n blocks at each of its pixels, shares [n, side] down and across.

        Returns:
            uint8 [n, side, side].
        """
        block = torch.from_numpy(self.of_each(np.arange(len(self.counts))))
        upper_left, upper_right, lower_left, lower_right = torch.from_numpy(self.cells)[..., None]
        x, y = x[block], y[block]
        upper, lower = torch.lerp(upper_left, upper_right, x), torch.lerp(lower_left, lower_right, x)
        values = torch.lerp(upper[:, None, :], lower[:, None, :], y[:, :, None]).numpy()
        order = (-self.counts).argsort(kind="stable")  # those of many classes first
        counts, starts = self.counts[order], self.starts[order]
        labels = self.label.astype(np.uint8)[:, None, None]
        best, won = values[starts], labels[starts].repeat(values.shape[1], 1).repeat(values.shape[2], 2)
        for rank in range(1, int(counts[0])):
            rivals = starts[: np.count_nonzero(counts > rank)] + rank
            part = slice(len(rivals))
            better = values[rivals] > best[part]
            np.copyto(best[part], values[rivals], where=better)
            np.copyto(won[part], labels[rivals], where=better)
        back = np.empty_like(won)
        back[order] = won
        return torch.from_numpy(back)


def _between(cells: Numbers, y: Numbers, x: Numbers) -> Numbers:
    """Bilinear, from logits [4, ...] at four cells; rounds otherwise than torch does."""
    upper_left, upper_right, lower_left, lower_right = cells
    upper, lower = upper_left + x * (upper_right - upper_left), lower_left + x * (lower_right - lower_left)
    between: Numbers = upper + y * (lower - upper)
    return between
