r"""A threshold with a promise: at most such a share of the objects is missed, and how sure that is.

The validation images are taken for independent draws of the images to come; objects come together in images, and
nothing is assumed of how. For a threshold let image i have :math:`N_i` objects, of which :math:`M_i` are missed. The
share missed in the long run, :math:`E M / E N`, is above :math:`\alpha` just where :math:`Z_i = M_i - \alpha N_i` has a
mean above 0. Whoever bets against that, a share b on each image, has :math:`K_b = \prod_i (1 - b Z_i)` in the end:
never below 0 for :math:`b \le 1 / ((1 - \alpha) B)`, where no image has more than B objects, and not above 1 in the
mean as long as too much is missed. So the mean of :math:`K_b` over bets fixed before reaches :math:`1 / \delta` with a
probability of at most :math:`\delta` (Markov): a threshold where it does is promised with confidence
:math:`1 - \delta` (bets: Waudby-Smith and Ramdas 2020, arXiv:2010.09686). A higher threshold misses no less, so the
bets fall with it, and the highest that wins is as sure as a single one (Bates et al. 2021, arXiv:2101.02703,
theorem 1).

B is not known before: it is the largest number of objects that a validation image has, and the promise is on images
with up to as many. That the fullest image is known to be there may speak for the bet; so of those with B objects the
one in which least is missed counts only where it speaks against it. Then, given B, the mean of :math:`K_b` is still 1
at most: let p be the share of images with B objects among those with up to B, and e the mean of their
:math:`1 - b Z`. Given that one is there, the mean is at most :math:`(1 - (1 - pe)^n) / (1 - (1 - p)^n)` with all
images, at most 1 for :math:`e \le 1`; with one of the fullest left out it is at most that divided by e, which is 1 at
most for :math:`e \ge 1`, as :math:`1 - (1 - x)^n` is concave. What counts is the smaller of both.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.metrics.box_hits import Hits
from mnv2dense.metrics.threshold_curves import passing

_THRESHOLDS = np.arange(1, 1000) / 1000

# Small ones win where there are many images, large ones where few must do; squares put as many on either.
_BETS = (np.arange(1, 51) / 50) ** 2

# More data than this many times what is there is no advice.
_MOST_TIMES = 1e4

FloatArray = npt.NDArray[np.float64]


class Promise(NamedTuple):
    """What is asked for.

    Attributes:
        missed: the share of objects that may be missed at most, between 0 and 1: no box of their class from the
            threshold on covers them with an IoU of 0.5.
        confidence: how sure that shall be, between 0 and 1: the share of validation sets, drawn alike, whose threshold
            keeps it.
    """

    missed: float
    confidence: float = 0.95

    def check(self) -> None:
        """Whether it can be asked for.

        Raises:
            ValueError: a share that is none.
        """
        for name, value in zip(self._fields, self, strict=True):
            if not 0 < value < 1:
                raise ValueError(f"promise.{name}={value}: a share between 0 and 1 is needed, as 0.1 for 10%.")

    @property
    def words(self) -> str:
        """As a sentence has it."""
        return f"at most {100 * self.missed:g}% of objects missed, with {100 * self.confidence:g}% confidence"


class Promised(NamedTuple):
    """What can be promised of a class, or of all together.

    Attributes:
        threshold: the highest that keeps the promise, in thousandths; None where none can be promised.
        objects: of the validation data.
        missed: the share of them that is missed at that threshold, or where there is none with all boxes that the model
            gives; None without objects.
        most_objects: of an image, up to which it holds.
        needed: where there is no threshold, how many objects more it takes at least if they are found as these are;
            None where no number would do.
    """

    threshold: float | None
    objects: int
    missed: float | None
    most_objects: int
    needed: int | None = None


def promised(
    promise: Promise, found: FoundBoxes, truth: TrueBoxes, went: Hits, *, label: int | None = None
) -> Promised:
    """The highest threshold at which the promise holds, see the module.

    Args:
        promise: what is asked for.
        found: boxes of all images.
        truth: their objects.
        went: what became of the boxes at IoU 0.5.
        label: of the class; None is all classes together.
    """
    counted = ~truth.crowds if label is None else ~truth.crowds & (truth.labels == label)
    images, objects = np.unique(truth.images[counted], return_counts=True)
    right = went.ious > 0 if label is None else (went.ious > 0) & (found.labels == label)
    return promised_of_counts(
        promise, objects, np.searchsorted(images, found.images[right]), passing(_THRESHOLDS, found.scores[right])
    )


def promised_of_counts(
    promise: Promise, objects: npt.NDArray[np.int64], images: npt.NDArray[np.int64], passed: npt.NDArray[np.int64]
) -> Promised:
    """The same from counts.

    Args:
        promise: what is asked for.
        objects: int64 [P], of each image, at least one.
        images: int64 [N], the place of the image of each object that is found.
        passed: int64 [N], how many thresholds, in thousandths from 0.001 on, the score of its box reaches.
    """
    total, most = int(objects.sum()), int(objects.max(initial=0))
    if not total:
        return Promised(None, 0, None, 0)

    def missed(row: int) -> npt.NDArray[np.int64]:
        return np.asarray(objects - np.bincount(images[passed > row], minlength=len(objects)))

    def wins(row: int) -> bool:
        return _log_mean(_log_bets(promise.missed, missed(row), objects)) >= -math.log1p(-promise.confidence)

    if not wins(0):
        bets = _log_bets(promise.missed, missed(0), objects)
        return Promised(None, total, float(missed(0).sum() / total), most, _needed(bets, promise.confidence, total))
    lowest, beyond = 0, len(_THRESHOLDS)  # wins, and does not
    while beyond - lowest > 1:
        middle = (lowest + beyond) // 2
        lowest, beyond = (middle, beyond) if wins(middle) else (lowest, middle)
    return Promised(float(_THRESHOLDS[lowest]), total, float(missed(lowest).sum() / total), most)


def _log_bets(share: float, missed: npt.NDArray[np.int64], objects: npt.NDArray[np.int64]) -> FloatArray:
    """What each bet has become in the end, as a logarithm: float64 [bets]."""
    excess = missed - share * objects
    most = objects.max()
    stakes = _BETS / ((1 - share) * most)
    lost = stakes[:, None] * excess
    # All is lost where the highest bet meets the fullest image missed whole: 1, were it not for rounding.
    all_lost = lost > 1 - 1e-9
    won = np.where(all_lost, -np.inf, np.log1p(-np.where(all_lost, 0.0, lost)))
    best_of_fullest = won[:, objects == most].max(axis=1)
    return np.asarray(won.sum(axis=1) - np.maximum(best_of_fullest, 0.0))


def _log_mean(logarithms: FloatArray) -> float:
    """Of the mean of what these are the logarithms of."""
    return float(np.logaddexp.reduce(logarithms)) - math.log(len(logarithms))


def _needed(bets: FloatArray, confidence: float, total: int) -> int | None:
    """Objects more at which the bets would win, were the rest as those that are there."""
    goal = -math.log1p(-confidence)
    low, high = 1.0, _MOST_TIMES
    if _log_mean(high * bets) < goal:
        return None
    while high - low > 1e-3 * low:
        middle = (low + high) / 2
        low, high = (low, middle) if _log_mean(middle * bets) >= goal else (middle, high)
    return math.ceil((high - 1) * total)
