"""Whether scores mean what they say, and the temperature that would mend them (Guo et al. 2017)."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

BINS: Final = 15
"""Of equal width, as in the paper."""

LEAST_SCORE: Final = 0.1
"""Of the boxes that are judged: below are the many that nobody is shown, and their number would decide the figure."""

MOST_NUMBERS: Final = 4_000_000
"""Scores that a temperature is fitted to, which then takes a second; of more, evenly some."""

_FEWEST = 50
"""Cases below which nothing is said."""

_COLDEST, _HOTTEST = 0.05, 20.0

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]


class Reliability(NamedTuple):
    """How often N answers are right, by their scores.

    Attributes:
        counts: int64 [BINS], answers whose score is in the bin; its upper border belongs to it.
        score: [BINS], their mean score, NaN of an empty bin.
        right: [BINS], the share of them that is right, NaN of an empty bin.
        error: expected calibration error: the distance of the two, averaged over answers, 0..1.
        surplus: mean score less the share that is right: above 0 the scores are too sure.
        chance: the error that scores which mean what they say would have all the same, as bins have few answers.
    """

    counts: npt.NDArray[np.int64]
    score: Floats
    right: Floats
    error: float
    surplus: float
    chance: float


class Calibration(NamedTuple):
    """Scores as they are, and with one temperature.

    Attributes:
        before: of all answers.
        after: the same where each half of the images has the temperature that was fitted to the other half.
        temperature: fitted to all: above 1 it makes scores less sure. None where no temperature would do, as of answers
            that are all right.
    """

    before: Reliability
    after: Reliability
    temperature: float | None


def reliability(scores: Floats, right: Bools) -> Reliability:
    """Scores [N], 0..1, and whether each answer is right, [N]; 1 or more of them."""
    bins = np.clip(np.ceil(scores * BINS).astype(np.int64) - 1, 0, BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        score = np.bincount(bins, scores, BINS) / counts
        share = np.bincount(bins, right, BINS) / counts
    error = float(np.nansum(np.abs(score - share) * counts) / len(scores))
    # Of a sum of n draws, the mean distance from what is expected: that of a normal distribution.
    chance = float(np.nansum(np.sqrt(2 / np.pi * score * (1 - score) * counts)) / len(scores))
    return Reliability(counts, score, share, error, float(scores.mean() - right.mean()), chance)


def calibration_of_boxes(scores: Floats, right: Bools, images: npt.NDArray[np.int64]) -> Calibration | None:
    """Of boxes, each right or wrong; a temperature divides the logit of the score. None of fewer than 50.

    Args:
        scores: [N], after softmax or sigmoid, 0..1; those below :data:`LEAST_SCORE` are left out.
        right: bool [N], whether it found an object at IoU 0.5.
        images: int64 [N], the image of each.
    """
    judged = scores >= LEAST_SCORE
    likely = scores[judged].clip(1e-6, 1 - 1e-6)
    table = np.column_stack([likely, 1 - likely])
    truth = np.where(right[judged], 0, 1)
    return _calibration(table, truth, images[judged], top=False)


def calibration_of_classes(
    table: Floats, truth: npt.NDArray[np.int64], images: npt.NDArray[np.int64]
) -> Calibration | None:
    """Of the likeliest of K classes; a temperature divides the logits before the softmax. None of fewer than 50.

    Args:
        table: [N, K], probabilities.
        truth: int64 [N], the column that is right.
        images: int64 [N], the image of each.
    """
    return _calibration(table, truth, images, top=True)


def temperature_of(logits: Floats, truth: npt.NDArray[np.int64]) -> float | None:
    """By which logits [N, K] are divided so that the likelihood of the true columns [N] is greatest.

    The negative log-likelihood is convex in 1 / temperature, so its slope is halved in on. None where it has no lowest
    point between 0.05 and 20.
    """
    at_truth = logits[np.arange(len(logits)), truth].mean(dtype=np.float64)

    def slope(inverse: float) -> float:
        weights = np.exp(inverse * logits - (inverse * logits).max(axis=1, keepdims=True))
        expected = (weights * logits).sum(axis=1) / weights.sum(axis=1)
        return float(expected.mean(dtype=np.float64) - at_truth)

    low, high = np.log([1 / _HOTTEST, 1 / _COLDEST])
    if slope(np.exp(low)) >= 0 or slope(np.exp(high)) <= 0:
        return None
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(np.exp(middle)) > 0 else (middle, high)
    return float(np.exp(-(low + high) / 2))


def _calibration(
    table: Floats, truth: npt.NDArray[np.int64], images: npt.NDArray[np.int64], *, top: bool
) -> Calibration | None:
    if len(table) < _FEWEST:
        return None
    step = -(-table.size // MOST_NUMBERS)
    logits = np.log(np.maximum(table[::step], 1e-12, dtype=np.float32))
    truth = truth[::step]
    other = np.unique(images, return_inverse=True)[1][::step] % 2 == 1
    cooled = np.empty_like(logits)
    for half in (other, ~other):
        fitted = temperature_of(logits[~half], truth[~half]) if (~half).any() else None
        cooled[half] = logits[half] / (fitted or 1)
    return Calibration(_judged(logits, truth, top=top), _judged(cooled, truth, top=top), temperature_of(logits, truth))


def _judged(logits: Floats, truth: npt.NDArray[np.int64], *, top: bool) -> Reliability:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    chosen = logits.argmax(axis=1) if top else np.zeros(len(logits), np.int64)
    scores = weights[np.arange(len(weights)), chosen] / weights.sum(axis=1)
    return reliability(scores, chosen == truth)
