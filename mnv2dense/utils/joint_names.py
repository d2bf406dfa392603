"""Several heads on one backbone: which classes are whose.

A joint model has one list of classes, as every model has: those of each head under its name, "boxes/car" and
"masks/road". So one list says what a model, its data and its checkpoints know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mnv2dense.utils.listed import listed

SEPARATOR = "/"


def joint_names(parts: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The classes of all parts, in their order: name of the part -> its classes."""
    return tuple(f"{part}{SEPARATOR}{name}" for part, names in parts.items() for name in names)


def part_labels(class_names: Sequence[str], part: str) -> range:
    """Where the classes of a part stand in the list of all; they stand together.

    Raises:
        ValueError: there are none, or others stand between them.
    """
    own = [label for label, name in enumerate(class_names) if name.partition(SEPARATOR)[0] == part]
    if not own:
        known = listed(list(dict.fromkeys(name.partition(SEPARATOR)[0] for name in class_names)))
        raise ValueError(
            f"class_names has none of the part {part!r}, only of {known}; they are called {part}{SEPARATOR}car, say."
        )
    labels = range(own[0], own[-1] + 1)
    if len(labels) != len(own):
        raise ValueError(f"class_names: those of {part!r} do not stand together; list one part after the other.")
    return labels


def part_names(class_names: Sequence[str], part: str) -> tuple[str, ...]:
    """The classes of a part, as it calls them itself.

    Raises:
        ValueError: there are none, or others stand between them.
    """
    return tuple(class_names[label].partition(SEPARATOR)[2] for label in part_labels(class_names, part))
