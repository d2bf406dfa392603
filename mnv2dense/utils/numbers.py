"""What counts as a number: Python's own, but no truth value, which Python takes for 0 or 1.

numpy's go neither into YAML and JSON nor into a checkpoint that loads without running code; who takes them makes them
Python's.
"""

from __future__ import annotations

from numbers import Integral
from typing import TypeGuard


def is_whole(value: object) -> TypeGuard[int]:
    """A whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """A number, whole or not; NaN and infinity are, too."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def whole(value: object) -> int | None:
    """A whole number, numpy's too, as Python's; None if it is none."""
    return None if isinstance(value, bool) or not isinstance(value, Integral) else int(value)
