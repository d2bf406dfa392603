"""Some of many, evenly."""

from __future__ import annotations


def evenly(length: int, count: int) -> list[int]:
    """Indices of ``count`` things spread evenly over ``length`` of them, in order; all where there are no more."""
    count = min(length, count)
    return [number * length // count for number in range(count)]
