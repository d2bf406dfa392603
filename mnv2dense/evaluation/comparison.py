"""Scores of several models on the same images: their differences to the first, and how sure these are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.metrics.bootstrap import LEVEL, Errors, added, errors_by_images, stand_out
from mnv2dense.reporting.comparison import Difference, Row

Floats = npt.NDArray[np.float64]

FEWEST_IMAGES: Final = 10
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
    """
    names = list(dict.fromkeys(name for table in tables for name in table))
    names = [name for name in headlines if name in names] + [name for name in names if _is_class(name, headlines)]
    missing = np.full(len(next(iter(tables[0].values()))), np.nan)
    scores = np.stack([[table.get(name, missing) for name in names] for table in tables])  # [runs, S, 1 + R]
    means = np.stack([scores[list(side)].mean(axis=0) for side in sides])
    variance, freedom = _of_seeds(scores[..., 0], sides)
    level = 1 - (1 - LEVEL) / max(1, len(sides) - 1)
    shown = np.array([images_of_classes.get(name, images) for name in names])
    changes = means[1:] - means[0]
    errors = [errors_by_images(change[:, 1:], shown) for change in changes]
    if freedom:
        seeds = [np.sqrt(variance * (1 / len(side) + 1 / len(sides[0]))) for side in sides[1:]]
        several = np.full(len(names), float(freedom))
        errors = [added(of_images, Errors(own, several)) for of_images, own in zip(errors, seeds, strict=True)]
    of_classes = np.array([_is_class(name, headlines) for name in names])
    marks = _marks(changes[..., 0], errors, of_classes & (shown >= FEWEST_IMAGES))
    reaches = [each.reach() for each in errors]
    main = [
        _difference(float(change[0, 0]), float(each.reach(level)[0]))
        for change, each in zip(changes, errors, strict=True)
    ]
    rows = [
        Row(
            name,
            headlines.get(name, ""),
            tuple(_told(value) for value in means[:, k, 0]),
            tuple(_spread(scores[list(side), k, 0]) for side in sides),
            tuple(
                None if math.isnan(change[k, 0]) else _difference(float(change[k, 0]), float(reach[k]), bool(marked[k]))
                for change, reach, marked in zip(changes, reaches, marks, strict=True)
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


def _marks(differences: Floats, errors: Sequence[Errors], judged: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.bool_]]:
    """Of each side but the first, which scores are more than chance; all sides and classes are judged together.

    Args:
        differences: [sides - 1, S].
        errors: of each side but the first.
        judged: [S], which take part.
    """
    marks = [np.zeros(len(judged), np.bool_) for _ in errors]
    chances = [each.chances(own)[judged] for own, each in zip(differences, errors, strict=True)]
    if not chances:
        return marks
    for own, part in zip(marks, np.split(stand_out(np.concatenate(chances)), len(chances)), strict=True):
        own[judged] = part
    return marks


def _told(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _spread(values: Floats) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 and not np.isnan(values).any() else None


def _difference(value: float, reach: float, marked: bool = False) -> Difference:
    return Difference(value, value - reach, value + reach, marked)
