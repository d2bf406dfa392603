"""What words and numbers in label files mean: truth values, numbers and names, decided once for all formats."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mnv2dense.utils.numbers import is_number, is_whole

# No image that fits a JPEG has a side above 65,535: a coordinate beyond this is a slip of the writer.
LARGEST_COORDINATE = 1e5

LARGEST_ID = 2**63 - 1
"""Ids travel in 64-bit tensors."""

_YES = ("1", "true", "yes")
_NO = ("", "0", "false", "no", "none", "unspecified")


def is_true(value: Any) -> bool:  # noqa: ANN401 - whatever a file holds
    """Whether a value of a label file says yes: 1, true or yes; no is 0, false, no, none, unspecified or nothing.

    Raises:
        ValueError: it says neither.
    """
    word = "" if value is None else str(value).strip().lower()
    if word in _YES or word == "1.0":
        return True
    if word in _NO or word == "0.0":
        return False
    raise ValueError(f"{value!r:.80} is neither yes (1, true, yes) nor no (0, false, no, none, unspecified or nothing)")


def is_id(value: Any) -> bool:  # noqa: ANN401
    """An integer of at most 64 bits."""
    return is_whole(value) and -LARGEST_ID <= value <= LARGEST_ID


def number(text: str) -> float:
    """A number as it is written; Python's own reading takes "1_0" for 10, and digits of any script.

    Raises:
        ValueError: it is none.
    """
    try:
        if "_" not in text and text.isascii():
            return float(text)
    except ValueError:
        pass
    raise ValueError(f"{text!r:.40} is no number, such as 0.25")


def is_within(value: Any, limit: float) -> bool:  # noqa: ANN401
    """A number of at most this magnitude; NaN is not, nor is a truth value."""
    return is_number(value) and abs(value) <= limit


def class_name(value: Any) -> str:  # noqa: ANN401
    """A class's name without the blanks around it.

    Raises:
        ValueError: it is no text, empty, or holds what can be neither drawn nor written.
    """
    if not isinstance(value, str):
        shown = "null" if value is None else f"{value!r:.80}"
        raise ValueError(
            f"a class is called {shown}, which was not read as text but as {_kind(value)}; put names in quotes, "
            "as in names: ['yes', '01']"
        )
    name = value.strip()
    if not name:
        raise ValueError(f"a class has the empty name {value!r:.80}; give it one")
    bad = next((letter for letter in name if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")), None)
    if bad is not None:
        raise ValueError(
            f"the class name {name!r:.80} holds {bad!r}, which can be neither drawn nor written; remove it there"
        )
    return name


def class_names(given: Sequence[Any] | str, *, source: object = "class_names") -> tuple[str, ...]:
    """The K names that labels index; a single word is one class.

    Args:
        given: as an option or a file has them.
        source: where they come from, for messages.

    Raises:
        ValueError: none, one of them twice, or one that is no name; see :func:`class_name`.
    """
    if not isinstance(given, str) and not isinstance(given, Sequence):
        raise ValueError(f"{source}: {given!r:.80} is no list of class names, as in [cat, dog].")
    try:
        names = tuple(class_name(name) for name in ([given] if isinstance(given, str) else given))
    except ValueError as error:
        raise ValueError(f"{source}: {error}.") from error
    if not names:
        raise ValueError(f"{source}: lists no classes; give at least one.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{source}: lists {', '.join(twice[:5])} more than once; names must differ.")
    return names


def _kind(value: object) -> str:
    return {"NoneType": "nothing", "bool": "yes or no", "int": "a number", "float": "a number"}.get(
        type(value).__name__, f"a {type(value).__name__}"
    )
