"""What can be suspected, the worst first: how a page calls it, and what to do next."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Level = Literal["wrong", "look", "note"]
"""``wrong``: mend it before training; ``look``: somebody has to decide; ``note``: good to know."""


class Kind(NamedTuple):
    """One kind of suspect.

    Attributes:
        level: how bad it is.
        one: what one of them is.
        many: what several are.
        next_step: what to do.
    """

    level: Level
    one: str
    many: str
    next_step: str


KINDS: Final[dict[str, Kind]] = {
    "leak": Kind(
        "wrong",
        "validation image is a copy of a training image",
        "validation images are copies of training images",
        "Take them out of one of the two; until then scores are too good.",
    ),
    "broken image": Kind(
        "wrong",
        "image cannot be read",
        "images cannot be read",
        "Fetch them again, or train with data.bad_images=skip, which leaves them out.",
    ),
    "other size": Kind(
        "wrong",
        "image has another size than its annotations say",
        "images have another size than their annotations say",
        "Use the images that were annotated: their boxes are misplaced, and training stops at them.",
    ),
    "odd mask": Kind(
        "wrong",
        "mask cannot be right",
        "masks cannot be right",
        "Open each beside its image; draw it again, or store it as PNG and resize it by nearest neighbours.",
    ),
    "near leak": Kind(
        "look",
        "validation image shows nearly what a training image shows",
        "validation images show nearly what training images show",
        "Cut copies, frames of one video and shots of one thing belong in one split: split by video, place or day.",
    ),
    "wrong class": Kind(
        "look",
        "object looks like another class",
        "objects look like another class",
        "Look at each, the surest first; correct those that are wrong in the labelling tool (doctor.json has all).",
    ),
    "missing box": Kind(
        "look",
        "object seems to lack a box",
        "objects seem to lack a box",
        "Look at each, the surest first, and draw the missing ones.",
    ),
    "doubled box": Kind(
        "look",
        "box covers another of its class",
        "boxes cover another of their class",
        "Remove one of the two, unless two objects hide each other so far.",
    ),
    "shifted box": Kind(
        "look",
        "box seems to be misplaced",
        "boxes seem to be misplaced",
        "Look at each, the surest first, and draw them again.",
    ),
    "shifted mask": Kind(
        "look",
        "mask seems to be misplaced",
        "masks seem to be misplaced",
        "Open each beside its image, the surest first; move it, or draw it again.",
    ),
    "wrong region": Kind(
        "look",
        "region of a mask looks like another class",
        "regions of masks look like another class",
        "Look at each, the surest first, and paint those that are wrong again.",
    ),
    "missing region": Kind(
        "look",
        "object seems to be left out of a mask",
        "objects seem to be left out of masks",
        "Look at each, the surest first, and paint the missing ones.",
    ),
    "odd box": Kind(
        "look",
        "box is hardly an object's",
        "boxes are hardly an object's",
        "Look at each, the surest first; remove slips of the mouse, draw the others again.",
    ),
    "duplicate": Kind(
        "look",
        "image is a copy of another in its split",
        "images are copies of others in their split",
        "Take them out: they count twice, in training and in scores.",
    ),
    "flat image": Kind(
        "look",
        "image is nearly one colour",
        "images are nearly one colour",
        "Look at them: a covered lens, a failed download or a blank page teaches nothing.",
    ),
    "empty image": Kind(
        "look",
        "image has no object",
        "images have no object",
        "Check that nothing was forgotten there; as examples of background they are welcome.",
    ),
    "near duplicate": Kind(
        "note",
        "image shows nearly what another of its split shows",
        "images show nearly what others of their split show",
        "Frames of one video are fewer images than they seem: keep them in one split, and label others sooner.",
    ),
    "unusual image": Kind(
        "note",
        "image is stored in an unusual way",
        "images are stored in an unusual way",
        "They are read all the same; check that the program that labelled them read them so, too.",
    ),
}
"""In the order in which a page shows them. A kind that is not listed comes after those that somebody has to look at."""

OTHER = Kind("look", "image is suspect", "images are suspect", "Look at each, the surest first.")
"""Of kinds that are not listed."""
