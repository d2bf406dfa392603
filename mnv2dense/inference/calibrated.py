"""Results whose scores say how often they are right, by the temperatures that the model keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mnv2dense.ops.postprocess import scored_parts
from mnv2dense.protocols import Model
from mnv2dense.types import Classification, JointResult


def temperatures_of(model: Model, *, named: str | None = None) -> dict[str, float]:
    """What a model keeps, of each of its heads with scores; "" is an only head.

    Args:
        model: with temperatures.
        named: what it was loaded from, for messages.

    Raises:
        ValueError: its results have no scores, or it keeps no temperature of a head.
    """
    called = named or "this model"
    heads = scored_parts(model.selection)
    if not heads:
        raise ValueError(
            f"calibrated=true is of scores, and {called} gives masks, whose pixels have none: leave it out."
        )
    kept = model.temperatures
    if missing := [name for name in heads if name not in kept]:
        of = f" of {missing[0]!r}" if missing[0] else ""
        run = named if named is not None and Path(named).exists() and not model.files else "RUN"
        again = ", and export that again" if model.files else ""
        raise ValueError(
            f"calibrated=true: {called} keeps no temperature{of}. python tools/evaluate.py checkpoint={run} "
            f"keep_thresholds=true fits it to validation data and keeps it in the checkpoint{again}."
        )
    return {name: kept[name] for name in heads}


def calibrated(result: Any, shown: Any, temperatures: Mapping[str, float]) -> Any:  # noqa: ANN401 - of any task
    """``shown`` with the scores that ``temperatures`` give it.

    Args:
        result: of an image, with all that the model found: a softmax is over all classes.
        shown: the same without what a threshold leaves out; thresholds are of scores as the model gives them.
        temperatures: by the names of heads; "" is an only head.
    """
    if isinstance(result, JointResult):
        own = {name: {"": temperatures[name]} for name in temperatures}
        parts = {
            name: calibrated(part, shown[name], own[name]) if name in own else part
            for name, part in result.parts.items()
        }
        return replace(shown, parts=parts)
    if isinstance(result, Classification):
        return result.cooled(temperatures[""])[: len(shown)]
    return shown.cooled(temperatures[""])
