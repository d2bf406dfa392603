"""What a data set's facts and suspects come to: a sentence each with the next step, the worst first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mnv2dense.doctor.facts import SplitFacts
from mnv2dense.doctor.input_size import InputFit
from mnv2dense.doctor.kinds import KINDS, OTHER, Kind, Level
from mnv2dense.doctor.suspect import Suspect
from mnv2dense.utils.listed import listed

# Objects of a class below which nobody should expect much of it, and times as many as the rarest class that the most
# frequent one may have.
_FEW_OBJECTS, _IMBALANCE = 20, 100

# Images that show a class in validation; its score is a matter of luck below.
_FEW_SCORED = 5

_SMALL = 0.15

_LEVELS: tuple[Level, ...] = ("wrong", "look", "note")


class Finding(NamedTuple):
    """One thing to know.

    Attributes:
        kind: of its suspects, or what it is called where it has none.
        level: "wrong", "look" or "note".
        number: of suspects, classes or whatever it counts.
        said: one sentence.
        next_step: what to do.
    """

    kind: str
    level: Level
    number: int
    said: str
    next_step: str


def findings_of(
    suspects: Sequence[Suspect],
    facts: Sequence[SplitFacts],
    inputs: Mapping[str, InputFit],
    class_names: Sequence[str],
    *,
    images: int,
) -> tuple[tuple[Finding, ...], tuple[Suspect, ...]]:
    """Findings, the worst first; and the suspects in the order of their findings, of each kind the surest first.

    Args:
        suspects: of all splits.
        facts: of each.
        inputs: name of the facts -> what the model's input does to the objects.
        class_names: K.
        images: in all.
    """
    by_kind: dict[str, list[Suspect]] = defaultdict(list)
    for suspect in suspects:
        by_kind[suspect.kind].append(suspect)
    order = {kind: place for place, kind in enumerate(KINDS)}
    found = [
        Finding(kind, own.level, len(each), _counted(own, len(each), images), own.next_step)
        for kind, each in by_kind.items()
        for own in [KINDS.get(kind, OTHER)]
    ]
    found += [*_of_classes(facts, class_names), *_of_inputs(inputs)]
    found.sort(key=lambda finding: (_LEVELS.index(finding.level), order.get(finding.kind, len(order))))
    ordered = [
        suspect
        for finding in found
        for suspect in sorted(by_kind.get(finding.kind, ()), key=lambda each: (-each.score, each.image))
    ]
    return tuple(found), tuple(ordered)


def _counted(kind: Kind, count: int, images: int) -> str:
    of_all = f" (of {images:,} in all)" if kind.many.split()[0] in ("images", "masks") else ""
    return f"{count:,} {kind.one if count == 1 else kind.many}{of_all}"


def _of_classes(facts: Sequence[SplitFacts], class_names: Sequence[str]) -> list[Finding]:
    """Classes that are missing somewhere, rare, or far outnumbered."""
    found = []
    for fact in facts:
        if len(fact.class_images) != len(class_names):  # a part of several has classes of its own
            continue
        images = np.array(fact.class_images)
        is_train = fact.name.startswith("train")
        absent = [name for name, count in zip(class_names, images, strict=True) if count == 0]
        if absent:
            are = "is" if len(absent) == 1 else "are"
            said = f"{len(absent)} of {len(images)} classes {are} in no image of {fact.name}: {listed(absent)}"
            step = (
                "Add images of them, or leave them out of the classes: a model never finds what it has not seen."
                if is_train
                else "Their scores cannot be told. Add some: whole images from training, taken out there."
            )
            found.append(Finding("absent classes", "wrong" if is_train else "look", len(absent), said, step))
        least = _FEW_OBJECTS if is_train else _FEW_SCORED
        rare = [
            f"{name} ({count})"
            for count, name in sorted(zip(images.tolist(), class_names, strict=True))
            if 0 < count < least
        ]
        if rare:
            few = "1 class is" if len(rare) == 1 else f"{len(rare)} classes are"
            said = f"{few} in fewer than {least} images of {fact.name}: {listed(rare, most=5)}"
            step = (
                "Label more of them first; data.repeat_threshold=0.1 draws their images more often."
                if is_train
                else "Their scores are a matter of luck: give more images of them to validation."
            )
            found.append(Finding("rare classes", "look" if is_train else "note", len(rare), said, step))
        present = images[images > 0]
        if is_train and len(present) > 1 and present.max() >= _IMBALANCE * present.min():
            most, few = (
                class_names[int(images.argmax())],
                class_names[int(np.where(images > 0, images, images.max()).argmin())],
            )
            said = f"{most} is in {present.max() / present.min():.0f} times as many training images as {few}"
            step = "data.repeat_threshold=0.001 draws images of rare classes more often."
            found.append(Finding("imbalance", "note", 1, said, step))
    return found


def _of_inputs(inputs: Mapping[str, InputFit]) -> list[Finding]:
    """Objects that the model's input makes too small."""
    found = []
    for fitting in inputs.values():
        first = fitting.rows[0]
        if first.small < _SMALL:
            continue
        size = f"{first.size[0]}x{first.size[1]}"
        said = (
            f"{first.small:.0%} of the objects are smaller than {fitting.stride} pixels at an input of {size}, one "
            "cell of the finest map"
        )
        if first.met is not None:
            said += f"; {first.met:.0%} of all could have an anchor of their own"
        if fitting.advised is None:
            last = fitting.rows[-1]
            step = (
                f"Even {last.size[0]}x{last.size[1]} leaves {last.small:.0%}: train and predict on tiles, or "
                "take images from closer by."
            )
        else:
            row = fitting.rows[-1]
            step = (
                f"model.size=[{row.size[0]},{row.size[1]}] leaves {row.small:.0%}, for {row.cost:.1f} times the "
                "computation; head=points reads a finer map."
            )
        found.append(Finding("small objects", "look", 1, said, step))
    return found
