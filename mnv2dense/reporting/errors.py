"""What there is to say of how a model goes wrong: figures, words and pictures of each head, for report.html."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mnv2dense.metrics.calibration import Calibration, Reliability

if TYPE_CHECKING:
    from mnv2dense.visualization.draw import Color, Pixels


@dataclass(frozen=True)
class Case:
    """One mistake to look at.

    Attributes:
        caption: what is wrong, in a few words.
        picture: uint8 [H, W, 3].
    """

    caption: str
    picture: Pixels = field(repr=False)


@dataclass(frozen=True)
class Cause:
    """One kind of mistake.

    Attributes:
        name: short, as in the plot.
        meaning: what it is.
        cost: what the score loses by it, 0..1; None where nobody can tell.
        count: how many there are.
        advice: what to do next, a sentence; empty where there are none.
        cases: the worst, a few.
    """

    name: str
    meaning: str
    cost: float | None
    count: int
    advice: str
    cases: tuple[Case, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows of numbers under a caption; the first column names the row.

    Attributes:
        caption: what it shows.
        head: of the columns.
        rows: as many cells each.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class HeadErrors:
    """How one head goes wrong.

    Attributes:
        head: its name; empty of an only head.
        sentences: what the figures come to.
        causes: the costliest first.
        cost_of: what :attr:`Cause.cost` is a share of, such as "AP50"; empty where there are no costs.
        counted: what :attr:`Cause.count` counts.
        cases_of: what the pictures of the cases show, a sentence.
        tables: further figures.
        plots: (file in the run folder, title, text).
        figures: plain values, what errors.json says.
        side_by_side: whether a picture of a case has two panels.
        legend: name and RGB of the classes of masks in these pictures, in the order of the classes.
    """

    head: str
    sentences: tuple[str, ...]
    causes: tuple[Cause, ...]
    cost_of: str
    counted: str
    cases_of: str
    tables: tuple[Table, ...]
    plots: tuple[tuple[str, str, str], ...]
    figures: dict[str, Any] = field(repr=False)
    side_by_side: bool = False
    legend: tuple[tuple[str, Color], ...] = ()


_WORTH_MENDING = 0.02
"""ECE from which on a temperature is spoken of; below, thresholds move by less than anybody would set them."""

_BEYOND_CHANCE = 1.5
"""Times the error that chance alone would make."""


def calibration_sentence(found: Calibration | None, of: str, right: str) -> str:
    """How far scores can be believed, and whether a temperature would help.

    Args:
        found: None where there is too little to tell.
        of: what has the scores, "boxes of score 0.1 and more".
        right: when one is right, "it finds an object at IoU 0.5".
    """
    if found is None:
        return f"There are too few {of} to tell whether their scores can be believed."
    before, after = found.before, found.after
    way = "too sure" if before.surplus > 0 else "too modest"
    by = f"{abs(before.surplus):.2f} {way}" if abs(before.surplus) >= 0.005 else "neither too sure nor too modest"
    said = f"Scores of {of} are {by} on average (calibration error {before.error:.3f}; one is right where {right})"
    if before.error < max(_WORTH_MENDING, _BEYOND_CHANCE * before.chance):
        return f"{said}: they can be read as probabilities."
    if found.temperature is None or after.error > before.error * 0.9:
        return f"{said}; no temperature would mend that: do not read them as probabilities."
    return (
        f"{said}; a temperature of {found.temperature:.2f} would mend it to {after.error:.3f}. It changes no order of "
        "scores, and so neither AP nor top1 nor mIoU; nothing has been changed."
    )


def calibration_figures(found: Calibration | None) -> dict[str, Any] | None:
    """For errors.json."""
    if found is None:
        return None
    return {
        "ece": _rounded(found.before.error),
        "ece_by_chance": _rounded(found.before.chance),
        "too_sure_by": _rounded(found.before.surplus),
        "temperature": None if found.temperature is None else _rounded(found.temperature),
        "ece_with_temperature": _rounded(found.after.error),
        "bins": _bins(found.before),
    }


def _bins(found: Reliability) -> list[dict[str, float | int]]:
    columns = (found.counts.tolist(), found.score.tolist(), found.right.tolist())
    return [
        {"count": count, "score": _rounded(score), "right": _rounded(right)}
        for count, score, right in zip(*columns, strict=True)
        if count
    ]


def rounded(values: Sequence[float] | np.ndarray) -> list[float | None]:
    """Six digits of each, None for NaN: what JSON can say."""
    return [None if value != value else _rounded(value) for value in map(float, values)]


def _rounded(value: float) -> float:
    return round(float(value), 6)
