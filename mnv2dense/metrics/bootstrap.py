"""How sure differences of scores are: images drawn anew, the same for all models (Efron and Tibshirani 1993).

Images are drawn with replacement, as often as there are, hundreds of times, and the scores computed anew from each
draw. How they vary says how they would vary on other images of the kind: their standard deviation is the bootstrap's
standard error (chapter 6), and with Student's t it makes an interval (section 12.2).
"""

from __future__ import annotations

import functools
import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEVEL = 0.95
"""Of intervals and marks, unless another is asked for."""


class Errors(NamedTuple):
    """How far scores may be off, float64 [S] each.

    Attributes:
        standard: standard errors.
        freedom: degrees of freedom that they are known with, 1 or more.
    """

    standard: Floats
    freedom: Floats

    def reach(self, level: float = LEVEL) -> Floats:
        """Half the width of intervals of this level."""
        quantiles = [_quantile((1 + level) / 2, float(each)) for each in self.freedom]
        return np.asarray(self.standard * np.array(quantiles))

    def chances(self, differences: Floats) -> Floats:
        """How likely differences as large are where there is none; NaN of what is not known, 1 of none."""
        sizes = np.abs(differences) + 0 * self.standard  # NaN where there is no error
        np.divide(sizes, self.standard, out=sizes, where=self.standard > 0)
        sizes[self.standard == 0] = 0
        return np.array([_outside(float(size), float(each)) for size, each in zip(sizes, self.freedom, strict=True)])


def draws(images: int, count: int, *, seed: int) -> npt.NDArray[np.int32]:
    """How often each image was drawn: [count, images], each row adds up to ``images``."""
    random = np.random.default_rng(seed)
    made = np.zeros((count, images), np.int32)
    for row in made:
        row += np.bincount(random.integers(0, images, images), minlength=images).astype(np.int32)
    return made


def errors_by_images(replicates: Floats, images: npt.NDArray[np.integer]) -> Errors:
    """Of scores, by what they were in each draw.

    Args:
        replicates: [S, R]; NaN where a draw could not tell.
        images: how many images each score hangs on, [S]: all, or those that show its class. A draw varies less than
            they do, by the factor sqrt((n - 1) / n). A single image varies in no draw and tells nothing of others: NaN.
    """
    count = np.maximum(images, 2).astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a score that no draw could tell is NaN
        spread = np.nanstd(replicates, axis=1)
    known = np.where(images > 1, spread * np.sqrt(count / (count - 1)), np.nan)
    return Errors(known, count - 1)


def added(first: Errors, second: Errors) -> Errors:
    """Of what both make uncertain, independently, with the degrees of freedom of Welch and Satterthwaite."""
    one, other = first.standard**2, second.standard**2
    parts = one**2 / first.freedom + other**2 / second.freedom
    freedom = np.divide((one + other) ** 2, parts, out=np.minimum(first.freedom, second.freedom), where=parts > 0)
    return Errors(np.sqrt(one + other), freedom)


def stand_out(chances: Floats, *, level: float = LEVEL) -> npt.NDArray[np.bool_]:
    """Which of several differences are more than chance, all of them judged together (Holm 1979).

    With the level's certainty none that is chance is among them.

    Args:
        chances: of each, where there is no difference; NaN is never marked.
        level: 0..1.
    """
    marked = np.zeros(len(chances), np.bool_)
    order = [k for k in np.argsort(chances) if not np.isnan(chances[k])]
    for place, k in enumerate(order):
        if chances[k] > (1 - level) / (len(order) - place):
            break
        marked[k] = True
    return marked


# Student's t is sqrt(freedom) times the tangent of an angle whose density is the (freedom - 1)th power of its cosine.
_ANGLES = np.linspace(0, np.pi / 2, 40_001)


@functools.lru_cache(maxsize=64)  # 20 MB
def _shares(freedom: float) -> Floats:
    """Of the angles up to each of these, 0..1."""
    density = np.cos(_ANGLES) ** (freedom - 1)
    steps = (density[1:] + density[:-1]).cumsum()
    return np.concatenate([[0.0], steps / steps[-1]])


def _quantile(share: float, freedom: float) -> float:
    """Of Student's t, above the median."""
    if not freedom >= 1:
        return float("nan")
    shares = _shares(round(freedom, 2))
    place = min(int(np.searchsorted(shares, 2 * share - 1)), len(shares) - 1)
    low, high = shares[place - 1], shares[place]
    angle = _ANGLES[place - 1] + (2 * share - 1 - low) / (high - low) * (_ANGLES[1] - _ANGLES[0])
    return float(np.sqrt(freedom) * np.tan(angle))


def _outside(size: float, freedom: float) -> float:
    """How likely Student's t lies further from 0."""
    if not freedom >= 1 or np.isnan(size):
        return float("nan")
    return float(1 - np.interp(np.arctan(size / np.sqrt(freedom)), _ANGLES, _shares(round(freedom, 2))))
