"""What there is to say of thresholds: how the best ones do, what is promised, and whether the model keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from mnv2dense.metrics.missed_promise import Promised
from mnv2dense.metrics.of_boxes import box_metrics
from mnv2dense.metrics.threshold_curves import LEAST_OBJECTS, ThresholdCurves

if TYPE_CHECKING:
    from mnv2dense.metrics.of_boxes import PromisedThresholds
    from mnv2dense.protocols import Metric

ALL = "all classes"


class ThresholdRow(NamedTuple):
    """How one class does at its threshold.

    Attributes:
        name: of the class; :data:`ALL` is the average over classes, at one threshold for all.
        threshold: its best; None where nothing is right.
        is_own: whether it was chosen for this class.
        values: precision, recall and F1 there, by their names; None is what cannot be told.
        objects: of the validation data.
    """

    name: str
    threshold: float | None
    is_own: bool
    values: Mapping[str, float | None]
    objects: int


@dataclass(frozen=True)
class ThresholdFacts:
    """Of one head for boxes.

    Attributes:
        head: its name; empty of an only head.
        rows: all classes first, then each that the data have objects of, in label order.
        least_objects: of a class, for a threshold of its own.
        promise: what was asked for, in words; empty where nothing was.
        promised: rows (class, threshold, missed, objects, what it takes), as texts.
        kept: whether a file keeps the thresholds that were chosen.
    """

    head: str
    rows: tuple[ThresholdRow, ...]
    promise: str = ""
    promised: tuple[tuple[str, ...], ...] = ()
    kept: bool = False
    least_objects: int = LEAST_OBJECTS


def threshold_facts(
    metric: Metric, *, promised: Mapping[str, PromisedThresholds] | None = None, kept: bool = False
) -> tuple[ThresholdFacts, ...]:
    """Of every head for boxes that a metric scores; none of others.

    Args:
        metric: after :meth:`mnv2dense.protocols.Metric.compute`.
        promised: what was promised of each head.
        kept: whether a file keeps the thresholds that were chosen.
    """
    facts = []
    for name, part in box_metrics(metric).items():
        own = (promised or {}).get(name)
        rows = tuple(_rows(part.threshold_curves(), part.class_names))
        told = ("", ()) if own is None else (own.promise.words, tuple(promise_rows(own)))
        facts.append(ThresholdFacts(name, rows, *told, kept=kept))
    return tuple(facts)


def _rows(curves: ThresholdCurves, class_names: Sequence[str]) -> list[ThresholdRow]:
    best, own = curves.best(), curves.own_best(class_names)
    overall = None if best is None else best.threshold
    rows = [_row(curves, ALL, overall, None, is_own=True)]
    for label, name in enumerate(class_names):
        if curves.objects[label]:
            rows.append(_row(curves, name, own.get(name, overall), label, is_own=name in own))
    return rows


def _row(
    curves: ThresholdCurves, name: str, threshold: float | None, label: int | None, *, is_own: bool
) -> ThresholdRow:
    values = dict.fromkeys(curves.curves(label)) if threshold is None else curves.at(threshold, label)
    objects = curves.objects.sum() if label is None else curves.objects[label]
    return ThresholdRow(name, threshold, is_own, values, int(objects))


def promise_rows(promised: PromisedThresholds) -> list[tuple[str, ...]]:
    """Class, threshold, share missed on this data, its objects, and what the promise takes where there is none."""
    return [
        (
            name,
            "-" if each.threshold is None else f"{each.threshold:.3f}",
            "-" if each.missed is None else f"{100 * each.missed:.1f}%",
            f"{each.objects:,}",
            _said(each, promised.promise.missed),
        )
        for name, each in {ALL: promised.overall, **promised.classes}.items()
    ]


def _said(each: Promised, share: float) -> str:
    if each.threshold is not None:
        return f"in images of up to {each.most_objects:,}"
    if each.needed is not None:
        return f"needs ≥ {each.needed:,} more objects"
    if each.missed is not None and each.missed >= share:
        return "too many missed at any threshold"
    return "nearly too many missed at any"
