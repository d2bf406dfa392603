"""How alike two pictures are once one is shifted and scaled onto the other: of cut copies, and of second shots."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# Each side by itself, as shares of half the picture: cut by a tenth at most.
_MOST_SCALE, _MOST_SHIFT = (0.8, 1.25), 0.15

_STEPS, _LONGEST_STEP = 6, 0.1

_TOGETHER = 512


def aligned_correlation(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> Floats:
    """The correlation of pairs where they overlap, after scale and shift of each axis were fitted.

    Gauss-Newton steps on the squared difference of the normalised pictures (Lucas and Kanade 1981), with gain and
    offset of brightness; a third of a millisecond for each pair of 32 x 32.

    Args:
        first: uint8 [N, S, S], grey.
        second: likewise.

    Returns:
        float32 [N], -1..1.
    """
    parts = [
        _aligned(first[start : start + _TOGETHER].astype(np.float32), second[start : start + _TOGETHER])
        for start in range(0, len(first), _TOGETHER)
    ]
    return np.concatenate([np.zeros(0, np.float32), *parts])


def _aligned(first: Floats, second: npt.NDArray[np.uint8]) -> Floats:
    count, side = first.shape[:2]
    grid = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
    fitted = np.tile(np.array([1, 0, 1, 0], np.float32), (count, 1))  # scale and shift of x, then of y
    for step in range(_STEPS + 1):
        columns, rows = (_weights(fitted[:, k], fitted[:, k + 1], grid) for k in (0, 2))
        overlap = rows[1][:, :, None] * columns[1][:, None, :]
        moved = _standardised(rows[0] @ second.astype(np.float32) @ columns[0].swapaxes(1, 2), overlap)
        target = _standardised(first, overlap)
        if step == _STEPS:
            break
        slope_y, slope_x = (slope * (side / 2) * overlap for slope in np.gradient(moved, axis=(1, 2)))
        terms = [slope_x * grid, slope_x, slope_y * grid[:, None], slope_y, moved, overlap]
        jacobian = np.stack(terms, axis=-1).reshape(count, -1, 6)
        transposed = jacobian.swapaxes(1, 2)
        normal = transposed @ jacobian + 1e-2 * np.eye(6, dtype=np.float32)
        moves = np.linalg.solve(normal, transposed @ (target - moved).reshape(count, -1, 1))[:, :4, 0]
        fitted += np.clip(moves, -_LONGEST_STEP, _LONGEST_STEP)
        fitted[:, ::2] = fitted[:, ::2].clip(*_MOST_SCALE)
        fitted[:, 1::2] = fitted[:, 1::2].clip(-_MOST_SHIFT, _MOST_SHIFT)
    pixels = np.maximum(overlap.sum(axis=(1, 2)), 1)
    return np.asarray((target * moved).sum(axis=(1, 2)) / pixels, np.float32)


def _weights(scale: Floats, shift: Floats, grid: Floats) -> tuple[Floats, Floats]:
    """Bilinear weights along one axis, [N, S, S]; and which of the S places lie inside of the other, 0 or 1, [N, S]."""
    side = len(grid)
    places = scale[:, None] * grid + shift[:, None]
    at = ((places + 1) / 2 * side - 0.5).clip(0, side - 1)
    low = np.minimum(at.astype(np.int64), side - 2)
    weights = np.zeros((len(scale), side, side), np.float32)
    pair, row = np.arange(len(scale))[:, None], np.arange(side)[None]
    weights[pair, row, low] = 1 - (at - low)
    weights[pair, row, low + 1] += at - low
    return weights, (np.abs(places) <= 1 - 1 / side).astype(np.float32)


def _standardised(pictures: Floats, overlap: Floats) -> Floats:
    """Of mean 0 and deviation 1 on the overlap, 0 beside it."""
    pixels = np.maximum(overlap.sum(axis=(1, 2), keepdims=True), 1)
    centred = (pictures - (pictures * overlap).sum(axis=(1, 2), keepdims=True) / pixels) * overlap
    deviation = np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True) / pixels)
    return np.asarray(centred / np.maximum(deviation, 1), np.float32)
