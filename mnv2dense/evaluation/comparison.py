"""Scores of several models on the same images: their differences to the first, and how sure these are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.metrics.bootstrap import LEVEL, interval, stand_out, with_seeds
from mnv2dense.reporting.comparison import Difference, Row

Floats = npt.NDArray[np.float64]

FEWEST_IMAGES: Final = 5
"""That must show a class before it is judged: fewer say nothing of others of the kind."""


class Judged(NamedTuple):
    """See :func:`judge`.

    Attributes:
        rows: of the headlines, in their order.
        classes: of each class, those that have 'marked' differences among them.
        main: of the first headline, each side's difference to the first side, so wide that all of them hold together.
        freedom: degrees of freedom by which the spread over seeds is known; 0 where no side has several runs.
    """

    rows: tuple[Row, ...]
    classes: tuple[Row, ...]
    main: tuple[Difference, ...]
    freedom: int


def judge(
    tables: Sequence[Mapping[str, Floats]],
    sides: Sequence[Sequence[int]],
    *,
    headlines: Mapping[str, str],
    images: int,
    images_of_classes: Mapping[str, int],
    seed: int = 0,
) -> Judged:
    """Compare each side with the first.

    Of a side of several runs, which differ in the seed of their training, scores are means over the runs. How much
    seeds change is estimated from all sides together, as if it were the same for each, and is part of the intervals:
    these then speak of the configurations, and else of the very runs.

    Args:
        tables: of each run, score -> [1 + R]: as the images are, then of R draws of them, the same for all runs;
            NaN where one cannot tell.
        sides: places of their runs.
        headlines: score -> meaning; scores with a slash are of classes, and need none.
        images: how many there are.
        images_of_classes: score of a class -> how many images show it.
        seed: of what is drawn here.
    """
    names = list(dict.fromkeys(name for table in tables for name in table))
    names = [name for name in headlines if name in names] + [name for name in names if _is_class(name, headlines)]
    missing = np.full(len(next(iter(tables[0].values()))), np.nan)
    scores = np.stack([[table.get(name, missing) for name in names] for table in tables])  # [runs, S, 1 + R]
    means = np.stack([scores[list(side)].mean(axis=0) for side in sides])
    variance, freedom = _of_seeds(scores[..., 0], sides)
    level = 1 - (1 - LEVEL) / max(1, len(sides) - 1)
    differences, main = [], []
    for place in range(1, len(sides)):
        changes = means[place] - means[0]
        draws = changes[:, 1:]
        if freedom:
            by_seeds = variance * (1 / len(sides[place]) + 1 / len(sides[0]))
            draws = with_seeds(draws, by_seeds, freedom, seed=seed + place)
        ends = interval(draws, images=images)
        differences.append((changes[:, 0], draws, ends))
        wide = interval(draws[:1], images=images, level=level)
        main.append(Difference(float(changes[0, 0]), float(wide.low[0]), float(wide.high[0])))
    judged = np.array([images_of_classes.get(name, 0) >= FEWEST_IMAGES for name in names])
    marks = _marks(differences, judged & np.array([_is_class(name, headlines) for name in names]))
    rows = [
        Row(
            name,
            headlines.get(name, ""),
            tuple(_told(value) for value in means[:, k, 0]),
            tuple(_spread(scores[list(side), k, 0]) for side in sides),
            tuple(
                _difference(changes[k], ends.low[k], ends.high[k], marked[k])
                for (changes, _, ends), marked in zip(differences, marks, strict=True)
            ),
            images_of_classes.get(name),
        )
        for k, name in enumerate(names)
    ]
    count = sum(name in headlines for name in names)
    return Judged(tuple(rows[:count]), tuple(rows[count:]), tuple(main), freedom)


def _is_class(name: str, headlines: Mapping[str, str]) -> bool:
    return "/" in name and name not in headlines


def _of_seeds(scores: Floats, sides: Sequence[Sequence[int]]) -> tuple[Floats, int]:
    """Variance of each score [runs, S] over seeds, of all sides together, and the degrees of freedom of it."""
    freedom = sum(len(side) - 1 for side in sides)
    squares = np.zeros(scores.shape[1])
    for side in sides:
        own = scores[list(side)]
        squares += ((own - own.mean(axis=0)) ** 2).sum(axis=0)
    return squares / max(1, freedom), freedom


def _marks(
    differences: Sequence[tuple[Floats, Floats, object]], judged: npt.NDArray[np.bool_]
) -> list[npt.NDArray[np.bool_]]:
    """Of each side but the first, which scores are more than chance; all sides and classes are judged together."""
    marks = [np.zeros(len(judged), np.bool_) for _ in differences]
    if not differences or not judged.any():
        return marks
    found = stand_out(
        np.concatenate([changes[judged] for changes, _, _ in differences]),
        np.concatenate([draws[judged] for _, draws, _ in differences]),
    )
    for own, part in zip(marks, np.split(found, len(differences)), strict=True):
        own[judged] = part
    return marks


def _told(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _spread(values: Floats) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 and not np.isnan(values).any() else None


def _difference(value: float, low: float, high: float, marked: bool) -> Difference | None:
    return None if math.isnan(value) else Difference(float(value), float(low), float(high), bool(marked))
