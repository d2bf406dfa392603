"""Thresholds and temperatures chosen from what was just scored: told, kept with the model, or promised."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2dense.metrics.missed_promise import Promise
from mnv2dense.metrics.of_boxes import (
    PromisedThresholds,
    best_temperatures,
    best_thresholds,
    box_metrics,
    promised_thresholds,
)
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.models.kept_thresholds import write_kept
from mnv2dense.utils.distributed import is_first_process
from mnv2dense.utils.files import atomic_write

if TYPE_CHECKING:
    from mnv2dense.protocols import Metric, Model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chosen:
    """What came of it.

    Attributes:
        promised: by the names of heads for boxes, "" is an only head; empty where nothing was asked for.
        kept_in: the file that keeps now what was chosen; None where none does.
        not_kept: what it does not keep although it should, and why, in a sentence.
    """

    promised: Mapping[str, PromisedThresholds] = field(default_factory=dict)
    kept_in: Path | None = None
    not_kept: str = ""


def check_choosing(model: Model, promise: Promise | None, *, keep: bool) -> None:
    """Whether there is something to choose, before an hour of scoring.

    Raises:
        ValueError: something is asked for of a model without scores, or a promise that cannot be, or of no boxes.
    """
    from mnv2dense.ops.postprocess import box_parts, scored_parts

    if promise is not None:
        promise.check()
        if not box_parts(model.selection):
            asked = f"promise.missed={promise.missed:g}"
            raise ValueError(f"{asked}: thresholds are of boxes, and this model is for {model.task}; leave it out.")
    if keep and not scored_parts(model.selection):
        raise ValueError(
            f"keep_thresholds=true: thresholds and temperatures are of scores, and this model is for {model.task}, "
            "where pixels have none; leave it out."
        )


def choose(
    metric: Metric, model: Model, *, promise: Promise | None = None, keep_in: str | Path | None = None
) -> Chosen:
    """Choose thresholds of boxes and temperatures of scores from what a metric holds, and keep them with the model.

    A head for which nothing can be chosen keeps what it had, and the others have theirs.

    Args:
        metric: after :meth:`mnv2dense.protocols.Metric.compute`.
        model: that was scored; keeps what is chosen, if it is one of torch.
        promise: for which thresholds are chosen; None is for the best F1.
        keep_in: the file or folder of the model, rewritten by the first process; None writes nothing.
    """
    promised = {} if promise is None else promised_thresholds(metric, promise)
    if keep_in is None or not isinstance(model, DenseModel):
        return Chosen(promised)
    kept = best_thresholds(metric) if promise is None else {name: own.kept for name, own in promised.items()}
    chosen = {name: own for name, own in kept.items() if own is not None}
    not_kept = ""
    if lacking := [name for name in box_metrics(metric) if name not in chosen]:
        why = "nothing that it finds is right" if promise is None else f"{promise.words}, cannot be promised"
        not_kept = f"no thresholds are kept{_of(lacking[0])}: {why}."
    thresholds, temperatures = model.thresholds | chosen, model.temperatures | best_temperatures(metric)
    if not chosen and not temperatures:
        return Chosen(promised, not_kept=not_kept)
    if chosen:
        model.keep_thresholds(thresholds)
    model.keep_temperatures(temperatures)
    if not is_first_process():
        return Chosen(promised, not_kept=not_kept)
    try:
        return Chosen(promised, write_kept(keep_in, thresholds, temperatures), not_kept)
    except (OSError, ValueError) as error:  # somebody else may have written it meanwhile; scores are not lost by it
        said = (error.strerror if isinstance(error, OSError) else None) or error
        problem = f"{keep_in}: nothing is kept in it ({said}); it is as it was."
        log.warning("%s", problem)
        return Chosen(promised, not_kept=problem)


def _of(head: str) -> str:
    return f" of {head}" if head else ""


def write_promises(folder: Path, promised: Mapping[str, PromisedThresholds]) -> None:
    """promise.json, of several heads in the folder of each."""
    for name, own in promised.items():
        with atomic_write(folder / name / "promise.json") as file:
            file.write(json.dumps(own.to_dict(), ensure_ascii=False, indent=1).encode() + b"\n")
