"""Entries of other projects' configs: what they must be, or an error that names file, entry and value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from mnv2dense.utils.numbers import is_number

LONGEST_SIDE = 16384
"""Pixels; a model of ours takes no larger images."""


class Entries:
    """The content of one json file.

    Args:
        content: of the file; empty where there is none.
        file: its name, for messages.
    """

    def __init__(self, content: Mapping[str, Any], file: str) -> None:
        self.content = content
        self._file = file

    def __contains__(self, key: str) -> bool:
        return self.content.get(key) is not None

    def number(self, key: str, default: float, *, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number from ``low`` to ``high``, both included."""
        value = self.content.get(key, default)
        if not _is_finite(value) or not low <= value <= high:
            ends = "" if math.isinf(low) else f" from {low} to {high}" if not math.isinf(high) else f", {low} or more"
            raise self.error(key, f"a number{ends}")
        return float(value)

    def whole(self, key: str, default: int, *, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``, both included."""
        value = self.content.get(key, default)
        if not _is_finite(value) or value != int(value) or not low <= value <= high:
            raise self.error(key, f"a whole number from {low} to {high}")
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false; null is the default."""
        value = self.content.get(key)
        if value not in (None, True, False):
            raise self.error(key, "true or false")
        return default if value is None else bool(value)

    def three(self, key: str, default: tuple[float, ...], *, positive: bool = False) -> tuple[float, ...]:
        """One number for each of R, G and B; null is the default."""
        value = self.content.get(key)
        if value is None:
            return default
        if not isinstance(value, (list, tuple)) or len(value) != 3 or not all(map(_is_finite, value)):
            raise self.error(key, "three numbers, one for each of R, G and B")
        if positive and min(value) <= 0:
            raise self.error(key, "three numbers above 0: pixels are divided by them")
        return tuple(map(float, value))

    def sides(self, key: str, value: object) -> tuple[int, int]:
        """(height, width) of a whole number, a pair, or a table with ``height`` and ``width``; from 1 pixel on."""
        if isinstance(value, Mapping):
            value = (value.get("height"), value.get("width"))
        pair = value if isinstance(value, (list, tuple)) else (value, value)
        if len(pair) != 2 or not all(_is_finite(side) and 1 <= side <= LONGEST_SIDE for side in pair):
            raise self.error(key, f"(height, width) or one side, pixels, at most {LONGEST_SIDE}")
        return int(pair[0]), int(pair[1])

    def table(self, key: str) -> Mapping[str, Any]:
        """A table of entries; missing or null is an empty one."""
        value = self.content.get(key)
        if value is not None and not isinstance(value, Mapping):
            raise self.error(key, "a table of entries")
        return value or {}

    def error(self, key: str, rule: str) -> ValueError:
        """What is wrong with an entry."""
        return ValueError(f"its {self._file} has {key}={self.content.get(key)!r}, which must be {rule}.")


def _is_finite(value: object) -> TypeGuard[float]:
    return is_number(value) and math.isfinite(value)
