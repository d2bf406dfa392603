"""What counts as a number: Python's own and numpy's, but no truth value, which Python takes for 0 or 1."""

from __future__ import annotations

from numbers import Integral, Real
from typing import TypeGuard


def is_whole(value: object) -> TypeGuard[int]:
    """A whole number."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """A number, whole or not; NaN and infinity are, too."""
    return isinstance(value, Real) and not isinstance(value, bool)
