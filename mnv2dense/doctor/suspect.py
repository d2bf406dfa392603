"""What is suspected of an image or of its labels: the one type that every search of this room returns."""

from __future__ import annotations

from typing import NamedTuple


class Suspect(NamedTuple):
    """Something that a person should look at.

    Attributes:
        kind: what is suspected, such as "leak", "wrong class" or "broken image".
        image: the file, as the data set's ``path_of`` names it.
        image_id: its ``Sample.image_id``.
        score: how sure, 0..1; what is surest is shown first.
        message: one sentence.
        box: the object that is meant, xyxy in pixels of the image; None where it is the whole image.
        label: the class as it is annotated, "" where there is none.
        proposed: the class that is proposed, "" where there is none.
        other: the other image of a pair, "" where there is none.
    """

    kind: str
    image: str
    image_id: int
    score: float
    message: str
    box: tuple[float, float, float, float] | None = None
    label: str = ""
    proposed: str = ""
    other: str = ""
