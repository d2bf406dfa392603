"""How sure a difference of scores is: images drawn anew, the same for all models (Efron and Tibshirani 1993).

Images are drawn with replacement, as often as there are, hundreds of times, and the scores computed anew from each
draw. How they vary says how they would vary on other images of the kind.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEVEL = 0.95
"""Of all intervals, unless another is asked for."""

_NORMAL = NormalDist()


class Interval(NamedTuple):
    """From ``low`` to ``high``, one of each for every score: float64 [S]."""

    low: Floats
    high: Floats


def draws(images: int, count: int, *, seed: int) -> npt.NDArray[np.int32]:
    """How often each image was drawn: [count, images], each row adds up to ``images``."""
    random = np.random.default_rng(seed)
    made = np.zeros((count, images), np.int32)
    for row in made:
        row += np.bincount(random.integers(0, images, images), minlength=images).astype(np.int32)
    return made


def interval(replicates: Floats, *, images: int, level: float = LEVEL) -> Interval:
    """The percentiles between which a score lies at this level.

    A draw varies less than the images do, by the factor sqrt((n - 1) / n), and its percentiles are a normal's where
    Student's t is wanted; the percentiles are taken a little further out for that (Hesterberg 2015, section 4.3).

    Args:
        replicates: a score of every draw, [S, R]; NaN where a draw could not tell.
        images: n, 2 or more.
        level: 0..1.
    """
    tail = _NORMAL.cdf(-math.sqrt(images / (images - 1)) * _student((1 + level) / 2, images - 1))
    low, high = (_quantiles(replicates, share) for share in (tail, 1 - tail))
    return Interval(low, high)


def _student(share: float, freedom: int) -> float:
    """The quantile of Student's t, by the first terms of its expansion in 1 / freedom: to 0.01 from freedom 5 on."""
    z = _NORMAL.inv_cdf(share)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def _quantiles(replicates: Floats, share: float) -> Floats:
    told = ~np.isnan(replicates).all(axis=1)
    values = np.full(len(replicates), np.nan)
    if told.any():
        values[told] = np.nanquantile(replicates[told], share, axis=1)
    return values


def with_seeds(replicates: Floats, variances: Floats, freedom: int, *, seed: int) -> Floats:
    """The same replicates, varied by what other seeds of the trainings would change, too.

    Args:
        replicates: [S, R], of means over seeds.
        variances: of these means, by the seeds, [S].
        freedom: degrees of freedom that the variances were estimated with; few make wide tails.
        seed: of the draws.
    """
    noise = np.random.default_rng(seed).standard_t(freedom, replicates.shape[1])
    return replicates + np.sqrt(variances)[:, None] * noise


def stand_out(differences: Floats, replicates: Floats, *, level: float = LEVEL) -> npt.NDArray[np.bool_]:
    """Which of several differences are more than chance, all of them judged together.

    With the level's certainty none that is chance is among them: the step-down procedure by the largest deviation
    (Romano and Wolf 2005), which is Holm's where scores have nothing to do with each other, and finds more where they
    have.

    Args:
        differences: [S]; NaN is never marked.
        replicates: the same of every draw, [S, R]; NaN where a draw could not tell.
        level: 0..1.
    """
    marked = np.zeros(len(differences), np.bool_)
    deviations = np.where(np.isnan(replicates), 0.0, replicates - differences[:, None])
    spread = deviations.std(axis=1)
    open_ = ~np.isnan(differences) & (spread > 0)
    scaled = np.zeros_like(deviations)
    scaled[open_] = np.abs(deviations[open_] / spread[open_, None])
    sizes = np.divide(np.abs(differences), spread, out=np.zeros_like(spread), where=open_)
    while open_.any():
        found = open_ & (sizes > np.quantile(scaled[open_].max(axis=0), level))
        if not found.any():
            break
        marked |= found
        open_ &= ~found
    return marked
