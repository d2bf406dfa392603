"""The lowest scores of results, of whatever is given as a threshold: a number, or "auto" for what the model keeps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from mnv2dense.ops.postprocess import Selection, box_parts
from mnv2dense.protocols import Model
from mnv2dense.types import SHOWN_SCORE, Thresholds
from mnv2dense.types.thresholds import AUTO
from mnv2dense.utils.numbers import is_number

Threshold = float | Literal["auto"] | None
"""A number from 0 to 1; "auto", the thresholds that the model keeps; None leaves out nothing."""

LeastScores = float | tuple[float, ...] | dict[str, tuple[float, ...]] | None
"""A number; one for each class; of several heads one for each class of those for boxes; None leaves out nothing."""


def check_threshold(threshold: Threshold) -> None:
    """What can be told without a model.

    Raises:
        ValueError: neither a number from 0 to 1, nor "auto", nor None.
    """
    if threshold is None or threshold == AUTO:
        return
    if not is_number(threshold) or not 0 <= threshold <= 1:
        raise ValueError(
            f"threshold={threshold}: scores lie between 0 and 1; {SHOWN_SCORE} is a good start, and auto takes what "
            "the model keeps."
        )


def least_scores(model: Model, threshold: Threshold, *, named: str | None = None) -> LeastScores:
    """What the results of a model are compared with.

    Args:
        model: with thresholds, where they are asked for.
        threshold: checked by :func:`check_threshold`.
        named: what the model was loaded from, for messages.

    Raises:
        ValueError: "auto" of a model that has no boxes or keeps no thresholds.
    """
    if threshold is None or not isinstance(threshold, str):
        return threshold
    return kept_scores(model.selection, model.thresholds, named=named, exported=bool(model.files))


def kept_scores(
    selection: Selection, kept: Mapping[str, Thresholds], *, named: str | None = None, exported: bool = False
) -> LeastScores:
    """The lowest score of each class of each head for boxes, of what a model keeps.

    Args:
        selection: the model's.
        kept: its thresholds.
        named: what the model was loaded from, for messages.
        exported: whether that is an exported file.

    Raises:
        ValueError: the model has no boxes, or keeps no thresholds.
    """
    heads = box_parts(selection)
    called = named or "this model"
    if not heads:
        raise ValueError(f"threshold=auto is of boxes, and {called} gives none: leave it out.")
    if missing := [name for name in heads if name not in kept]:
        of = f" of {missing[0]!r}" if missing[0] else ""
        run = named if named is not None and Path(named).exists() and not exported else "RUN"
        again = ", and export that again" if exported else ""
        raise ValueError(
            f"threshold=auto: {called} keeps no thresholds{of}. python tools/evaluate.py checkpoint={run} "
            f"keep_thresholds=true chooses them on validation data and keeps them in the checkpoint{again}; "
            f"or give a number, as threshold={SHOWN_SCORE}."
        )
    scores = {name: kept[name].of(head.class_names) for name, head in heads.items()}
    return scores.get("", scores)
