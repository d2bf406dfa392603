"""What somebody may have meant by a word that is none of those known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near(word: str, known: Iterable[str], *, count: int = 1, cutoff: float = 0.6) -> list[str]:
    """The known words that are most alike, the nearest first; capital and small letters count as the same.

    Args:
        word: as it was written.
        known: what would have been right.
        count: how many at most.
        cutoff: how alike they must be, 0..1: twice the letters in common, as a share of both words' letters.
    """
    written: dict[str, str] = {}
    for each in known:
        written.setdefault(each.lower(), each)
    return [written[found] for found in difflib.get_close_matches(word.lower(), written, n=count, cutoff=cutoff)]


def did_you_mean(word: str, known: Iterable[str], *, before: str = "") -> str:
    """How a message goes on after "there is no such option": "; did you mean nms=true?", or "." where nothing is alike.

    Args:
        word: as it was written.
        known: what would have been right.
        before: stands before the known word, as in "nms=".
    """
    found = near(word, known)
    return f"; did you mean {before}{found[0]}?" if found else "."
