"""What a format cannot say, or says otherwise: gathered while it is written, for people to read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """One thing that is not in what was written as it was in what was read.

    Attributes:
        what: it in a word or two, such as "crowds".
        count: how many images, objects or classes it touches.
        said: what became of it, a sentence.
    """

    what: str
    count: int
    said: str


def merged(notes: list[Note]) -> list[Note]:
    """The same notes, those of several splits counted together, in the order of the first of each."""
    counts: dict[tuple[str, str], int] = {}
    for note in notes:
        counts[note.what, note.said] = counts.get((note.what, note.said), 0) + note.count
    return [Note(what, count, said) for (what, said), count in counts.items() if count]
