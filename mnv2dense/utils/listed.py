"""Names in a sentence, however many there are."""

from __future__ import annotations

from collections.abc import Sequence


def listed(names: Sequence[str], *, most: int = 8) -> str:
    """The names, of which ``most`` are said: "cat, dog and 78 more"."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
