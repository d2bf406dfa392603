"""The scores from which on a detector's boxes are shown, chosen on validation data and kept with the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mnv2dense.utils.numbers import is_number

AUTO: Literal["auto"] = "auto"
"""In the place of a threshold: those that the model keeps."""

BEST_F1 = "best F1 at IoU 0.5"
"""What thresholds are chosen for where nobody asks for something else."""


@dataclass(frozen=True)
class Thresholds:
    """Of one head for boxes.

    Attributes:
        overall: lowest score, 0..1, of the classes without one of their own: there were too few objects to choose it.
        classes: name of a class -> its lowest score.
        chosen_for: what they are best for, in a few words.
    """

    overall: float
    classes: Mapping[str, float] = field(default_factory=dict)
    chosen_for: str = BEST_F1

    def of(self, class_names: Sequence[str]) -> tuple[float, ...]:
        """The lowest score of each of K classes, by label."""
        return tuple(self.classes.get(name, self.overall) for name in class_names)

    @property
    def config(self) -> dict[str, Any]:
        """Plain values, as files keep them."""
        return {"overall": self.overall, "classes": dict(self.classes), "chosen_for": self.chosen_for}


def kept(thresholds: Mapping[str, Thresholds]) -> dict[str, Any]:
    """As a model's config and an exported file keep them: those of an only head, or a table of several heads'.

    Args:
        thresholds: name of the head -> its own; "" is an only head.
    """
    if "" in thresholds:
        return thresholds[""].config
    return {name: own.config for name, own in thresholds.items()}


def read_kept(config: Any, heads: Mapping[str, Sequence[str]]) -> dict[str, Thresholds]:  # noqa: ANN401 - of a file
    """The inverse of :func:`kept`; of a file that keeps none, none.

    Args:
        config: what a file has, which may come from anybody.
        heads: name of each head for boxes -> its classes; "" is an only head.

    Raises:
        ValueError: it is something else, or of other heads or classes.
    """
    if not config:
        return {}
    given = {"": config} if "" in heads else config
    if not isinstance(given, Mapping) or not given.keys() <= heads.keys():
        raise ValueError(f"thresholds={_short(config)}: they are of the model's heads for boxes ({_listed(heads)}).")
    return {str(name): _read(own, heads[name]) for name, own in given.items()}


def _read(config: Any, class_names: Sequence[str]) -> Thresholds:  # noqa: ANN401
    found = config if isinstance(config, Mapping) else {}
    classes, words = found.get("classes", {}), found.get("chosen_for", BEST_F1)
    if not isinstance(classes, Mapping) or not isinstance(words, str):
        raise ValueError(f"thresholds={_short(config)}: overall, classes and chosen_for are needed.")
    for name, score in (("overall", found.get("overall")), *classes.items()):  # a class may be called so, too
        if not is_number(score) or not 0 <= score <= 1:
            raise ValueError(f"thresholds: {name}={_short(score)} is no score, from 0 to 1.")
    if strangers := [str(name) for name in classes if name not in class_names]:
        raise ValueError(f"thresholds: {strangers[0]!r} is none of the model's classes.")
    return Thresholds(float(found["overall"]), {str(name): float(score) for name, score in classes.items()}, words)


def _listed(heads: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(filter(None, heads)) or ("its only one" if heads else "it has none")


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
