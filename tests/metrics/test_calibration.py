"""Calibration: by hand, beside loops, and temperatures that are known because the logits were multiplied by them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from mnv2dense.metrics import calibration
from mnv2dense.metrics.calibration import (
    BINS,
    LEAST_SCORE,
    calibration_of_boxes,
    calibration_of_classes,
    reliability,
    temperature_of,
)


def answers(seed: int, count: int = 4000, classes: int = 5) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Logits, and truths drawn by their probabilities: a temperature of 1 is right."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (count, classes))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return logits, (chances.cumsum(axis=1) < random.random((count, 1))).sum(axis=1)


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def test_the_error_is_the_distance_of_score_and_truth_weighted_by_answers() -> None:
    # Three of score 0.9 of which two are right, one of 0.3 that is right: |0.9 - 2/3| * 3/4 + |0.3 - 1| * 1/4.
    found = reliability(np.array([0.9, 0.9, 0.9, 0.3]), np.array([True, True, False, True]))
    assert found.error == pytest.approx(0.175 + 0.175)
    assert found.surplus == pytest.approx(0.75 - 0.75)
    assert found.counts.sum() == 4
    assert found.right[13] == pytest.approx(2 / 3)
    assert np.isnan(found.right[0])


def test_it_is_as_a_loop_over_bins_and_a_border_belongs_to_the_bin_below() -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        scores = random.integers(0, 31, 200) / 30
        right = random.random(200) < scores
        total = 0.0
        for place in range(BINS):
            inside = (scores > place / BINS) & (scores <= (place + 1) / BINS)
            if place == 0:
                inside |= scores == 0
            if inside.any():
                total += abs(scores[inside].mean() - right[inside].mean()) * inside.mean()
        assert reliability(scores, right).error == pytest.approx(total)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.5])
def test_the_temperature_undoes_what_logits_were_multiplied_by(factor: float) -> None:
    logits, truth = answers(0)
    assert temperature_of(factor * logits, truth) == pytest.approx(factor, rel=0.06)


def test_it_is_where_the_likelihood_is_greatest() -> None:
    logits, truth = answers(1, 300)
    logits *= 1.7
    best = temperature_of(logits, truth)
    assert best is not None

    def likelihood(temperature: float) -> float:
        return float(np.log(softmax(logits / temperature)[np.arange(len(truth)), truth]).mean())

    assert likelihood(best) > max(likelihood(0.99 * best), likelihood(1.01 * best))


def test_scores_that_are_too_sure_are_mended_on_images_that_the_temperature_was_not_fitted_to() -> None:
    logits, truth = answers(2)
    found = calibration_of_classes(softmax(3 * logits), truth, np.arange(len(truth)))
    assert found is not None
    assert found.before.surplus > 0.1
    assert found.temperature == pytest.approx(3, rel=0.06)
    assert found.after.error < 0.03 < 0.1 < found.before.error


def test_boxes_are_judged_from_a_score_on_and_by_the_logit_of_it() -> None:
    random = np.random.default_rng(3)
    logits = random.normal(0, 1.5, 6000)
    right = random.random(6000) < 1 / (1 + np.exp(-logits))
    sure = 1 / (1 + np.exp(-2 * logits))
    found = calibration_of_boxes(sure, right, np.arange(6000) // 10)
    assert found is not None
    assert found.before.counts.sum() == (sure >= LEAST_SCORE).sum()
    assert found.temperature == pytest.approx(2, rel=0.15)
    assert found.after.error < found.before.error / 2


def test_where_all_is_right_no_temperature_is_best() -> None:
    logits, _ = answers(4, 100)
    found = calibration_of_classes(softmax(logits), logits.argmax(axis=1), np.arange(100))
    assert found is not None
    assert found.temperature is None
    assert found.after.error == pytest.approx(found.before.error)


def test_of_too_few_nothing_is_said() -> None:
    logits, truth = answers(5, 49)
    assert calibration_of_classes(softmax(logits), truth, np.arange(49)) is None
    assert calibration_of_boxes(np.full(500, 0.05), np.zeros(500, bool), np.arange(500)) is None


def test_of_many_evenly_some_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "MOST_NUMBERS", 5000)
    logits, truth = answers(6)
    found = calibration_of_classes(softmax(logits), truth, np.arange(len(truth)))
    assert found is not None
    assert found.before.counts.sum() == 1000


def test_the_error_of_scores_that_mean_what_they_say_is_the_one_by_chance() -> None:
    random = np.random.default_rng(7)
    made = []
    for _ in range(50):
        scores = random.random(500)
        made.append(reliability(scores, random.random(500) < scores))
    assert np.mean([each.error for each in made]) == pytest.approx(np.mean([each.chance for each in made]), rel=0.1)
