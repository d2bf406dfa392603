"""Ranges of activations: the ends between which 256 steps give calibration's values with the least squared error.

What is far out and rare is cut off, as finer steps for all the rest are worth more. Three ways to the same end, as the
runtimes want it: :func:`best_range` looks at all pairs of ends and puts 0 on a step, as onnxruntime does;
:func:`best_range_of_samples` looks for the upper end first, then for the lower; :func:`best_power_range` is for devices
whose scales are powers of two.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

_STEPS: Final = 255

# Shares of the largest and of the smallest value that are tried as ends of a range.
_CUTS: Final = np.linspace(0.3, 1, 36)


def best_range(counts: npt.NDArray[np.float64], low: float, high: float) -> tuple[float, float]:
    """The range of the values of a histogram.

    Args:
        counts: [N] of equal bins between ``low`` and ``high``.
        low: smallest value, 0 or less.
        high: largest value, 0 or more.

    Returns:
        A range within (low, high) that has 0 in it.
    """
    if not high > low:
        return low, high
    edges = np.linspace(low, high, len(counts) + 1)
    filled = counts > 0
    values, weights = ((edges[1:] + edges[:-1]) / 2)[filled], counts[filled]
    errors = {}
    for start in _ends(low):
        stops = _ends(high)
        step = ((stops - start) / _STEPS)[:, None]
        zero = np.round(-start / step)
        rounded = (np.clip(np.round(values / step) + zero, 0, _STEPS) - zero) * step
        squares = ((rounded - values) ** 2 * weights).sum(axis=1)
        best = int(squares.argmin())
        errors[float(start), float(stops[best])] = float(squares[best])
    return min(errors, key=lambda ends: errors[ends])


def best_power_range(
    counts: npt.NDArray[np.float64], low: float, high: float, *, largest: float
) -> tuple[float, float]:
    """The symmetric range of the values of a histogram, 127 steps of a power of two on either side.

    Args:
        counts: [N] of equal bins between ``low`` and ``high``.
        low: smallest value, 0 or less.
        high: largest value, 0 or more.
        largest: step that holds both; it and its half, quarter and eighth are tried.
    """
    edges = np.linspace(low, high, len(counts) + 1)
    values = (edges[1:] + edges[:-1]) / 2

    def error(step: float) -> float:
        rounded = np.clip(np.round(values / step), -128, 127) * step
        return float(((rounded - values) ** 2 * counts).sum())

    step = min((largest / 2**halved for halved in range(4)), key=error)
    return -127 * step, 127 * step


def best_range_of_samples(values: npt.NDArray[np.float32]) -> tuple[float, float]:
    """The range of values themselves, with 0 in it; (0, 1) where all are 0.

    Args:
        values: [N], N >= 1.
    """
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if low == high:
        return 0.0, 1.0

    def error(ends: tuple[float, float]) -> float:
        step = (ends[1] - ends[0]) / _STEPS
        rounded = np.clip(np.round((values - ends[0]) / step), 0, _STEPS) * step + ends[0]
        return float(np.square(rounded - values).sum())

    high = min(((low, float(end)) for end in _ends(high)), key=error)[1]
    return min(((float(end), high) for end in _ends(low)), key=error)


def _ends(extreme: float) -> Floats:
    """What is tried for one end: shares of the extreme value, or 0 alone."""
    ends: Floats = extreme * (_CUTS if extreme != 0 else _CUTS[-1:])
    return ends
