"""Which scores of a metric a run looks at: the one that chooses its best checkpoint, and those that it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from mnv2dense.protocols import Dataset, Metric, NamesScores

Mode = Literal["min", "max"]

CANNOT_TELL = -1.0
"""A score of which the data cannot tell; the loss has no such value."""

_MOST_CURVES = 3
_MEMBERS = ("headlines", "bind", "reset", "update", "compute", "write")


class Watched(NamedTuple):
    """What epoch lines, curves, checkpoints and early stopping go by.

    Attributes:
        monitor: the score that chooses the best checkpoint, or "loss".
        mode: "max" where more of it is better, "min" where less is.
        curves: scores of the epochs' lines and of curves.png, ``monitor`` among them unless it is the loss, which is
            always shown.
        lower_is_better: those of which less is better.
    """

    monitor: str
    mode: Mode
    curves: tuple[str, ...]
    lower_is_better: frozenset[str]


def watched(
    metric: Metric, *, monitor: str | None = None, mode: str | None = None, curves: Sequence[str] | None = None
) -> Watched:
    """What is asked for, else what the metric says, else its headlines: the first chooses, the first three are shown.

    Args:
        metric: with ``monitor``, ``curves`` and ``lower_is_better`` if it has an opinion, see
            :class:`mnv2dense.protocols.Metric`.
        monitor: a score, or "loss".
        mode: "min" or "max"; None is "min" for the loss and for what the metric calls better when lower.
        curves: scores to show.

    Raises:
        ValueError: a metric that lacks what its contract asks for, that names no score, or another mode.
    """
    check_metric(metric)
    name = type(metric).__name__
    monitor = monitor or getattr(metric, "monitor", None) or next(iter(metric.headlines), None)
    if not monitor:
        raise ValueError(
            f"metric: {name} names no score in headlines, so none chooses the best checkpoint; "
            "give it headlines, or set monitor=loss."
        )
    lower = set(names_of(getattr(metric, "lower_is_better", ()), f"metric: {name}.lower_is_better"))
    if mode not in (None, "min", "max"):
        raise ValueError(f"monitor_mode={mode}: give max where more of {monitor} is better, min where less is.")
    shown = curves or getattr(metric, "curves", None) or list(metric.headlines)[:_MOST_CURVES]
    shown = names_of(shown, "curves")
    if monitor != "loss" and monitor not in shown:
        shown = (monitor, *shown)
    less = mode == "min" or (mode is None and (monitor == "loss" or monitor in lower))
    lower = (lower | {monitor}) if less else (lower - {monitor})
    return Watched(monitor, "min" if less else "max", shown, frozenset(lower))


def check_metric(metric: Metric) -> None:
    """Whether it has what training and evaluation will ask of it, told before hours were spent on results.

    Raises:
        ValueError: it lacks something, or its headlines are no table.
    """
    name = type(metric).__name__
    if lacking := [member for member in _MEMBERS if not hasattr(metric, member)]:
        raise ValueError(
            f"metric: {name} lacks {', '.join(lacking)}; mnv2dense.protocols.Metric says what each of them is for."
        )
    if not isinstance(metric.headlines, Mapping):
        raise ValueError(
            f"metric: {name}.headlines is a {type(metric.headlines).__name__}, but must tell of each score what it "
            'means, as in {"error": "share of images that are wrong"}.'
        )


def names_of(names: Sequence[str], whose: str) -> tuple[str, ...]:
    """The same as a tuple.

    Raises:
        ValueError: a single text, whose letters would be taken for names, or something else than texts.
    """
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{whose} is {names!r}, but must be a list of scores, as in [AP, AP50].")
    return tuple(names)


def score_names(metric: Metric, dataset: Dataset) -> list[str]:
    """What a metric will score on a data set, which it takes here and then has no results of.

    One that has no ``score_names`` is asked what it scores of nothing; where it cannot divide by zero, or says nothing,
    its headlines count.
    """
    metric.bind(dataset)
    metric.reset()
    if isinstance(metric, NamesScores):
        return list(metric.score_names(dataset))
    try:
        return list(metric.compute()) or list(metric.headlines)
    except ArithmeticError:
        return list(metric.headlines)
