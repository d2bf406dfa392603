"""Scores of simulated detectors compared: what intervals promise, they keep; and what is said of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

from mnv2dense.evaluation.comparison import FEWEST_IMAGES, Judged, judge
from mnv2dense.evaluation.verdict import notes, verdicts
from mnv2dense.metrics.bootstrap import draws
from mnv2dense.reporting.comparison import Side
from tests.helpers.simulated_detectors import simulated

HEADLINES = {"AP": "all", "AP50": "IoU 0.50"}


@cache
def true_score(skill: float, classes: int) -> float:
    """AP on very many images."""
    parts = [simulated(np.random.default_rng(10**6 + k), 4000, classes, [skill])[0] for k in range(10)]
    return float(np.mean([part.scores(np.ones((1, 4000), np.int32))["AP"][0] for part in parts]))


def compared(
    seed: int,
    skills: Sequence[float],
    sides: Sequence[Sequence[int]],
    *,
    images: int = 60,
    classes: int = 3,
    count: int = 200,
) -> Judged:
    """Detectors of these skills on images of one more data set of the population."""
    made = simulated(np.random.default_rng(seed), images, classes, skills)
    weights = np.concatenate([np.ones((1, images), np.int32), draws(images, count, seed=seed)])
    tables = [each.scores(weights) for each in made]
    shown = made[0].images_of_classes()
    return judge(tables, sides, headlines=HEADLINES, images=images, images_of_classes=shown)


def rate_within(promised: float, found: float, sets: int) -> bool:
    """Whether a rate is the promised one, but for what so few sets leave to chance (three standard errors)."""
    return abs(found - promised) <= 3 * math.sqrt(promised * (1 - promised) / sets)


def holds(judged: Judged, truth: float) -> bool:
    return judged.main[0].low <= truth <= judged.main[0].high


@pytest.mark.slow
def test_an_interval_of_95_percent_holds_the_true_difference_as_often() -> None:
    sets, truth = 150, true_score(0.7, 3) - true_score(0.3, 3)
    assert truth == pytest.approx(0.103, abs=0.005)
    held = [holds(compared(seed, (0.3, 0.7), ((0,), (1,))), truth) for seed in range(sets)]
    assert rate_within(0.95, float(np.mean(held)), sets), np.mean(held)


@pytest.mark.slow
@pytest.mark.parametrize(("images", "sets"), [(60, 1000), (165, 400)])
def test_an_interval_of_95_percent_holds_the_true_difference_as_often_on_many_sets(images: int, sets: int) -> None:
    truth = true_score(0.45, 3) - true_score(0.3, 3)
    held = [holds(compared(seed, (0.3, 0.45), ((0,), (1,)), images=images), truth) for seed in range(sets)]
    assert rate_within(0.95, float(np.mean(held)), sets), np.mean(held)


@pytest.mark.slow
def test_with_seeds_an_interval_holds_the_difference_of_configurations() -> None:
    sets, truth, held, alone = 200, true_score(0.5, 3) - true_score(0.3, 3), [], []
    for seed in range(sets):
        jitter = np.random.default_rng(10**7 + seed).normal(0, 0.12, 6)
        skills = np.array([0.3] * 3 + [0.5] * 3) + jitter
        held.append(holds(compared(seed, skills.tolist(), ((0, 1, 2), (3, 4, 5)), count=150), truth))
        alone.append(holds(compared(seed, skills[[0, 3]].tolist(), ((0,), (1,)), count=150), truth))
    assert np.mean(held) >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / sets), np.mean(held)
    # Single runs speak of themselves alone: of configurations they promise too much.
    assert np.mean(alone) < 0.9, np.mean(alone)


@pytest.mark.slow
def test_of_twenty_classes_without_a_difference_hardly_ever_one_is_marked() -> None:
    sets, marked, alone = 60, 0, 0
    for seed in range(sets):
        judged = compared(seed, (0.4, 0.4), ((0,), (1,)), images=60, classes=20, count=150)
        cells = [row.differences[0] for row in judged.classes]
        marked += any(cell.marked for cell in cells if cell is not None)
        alone += any(cell.excludes_zero for cell in cells if cell is not None)
    assert marked / sets <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / sets)
    assert alone / sets > 0.4  # what marks are there for


# --- what is said -------------------------------------------------------------------------------------------------


def side(label: str, *seeds: int | None) -> Side:
    runs = tuple(f"{label}{k}" for k in range(len(seeds)))
    return Side(label, runs, runs, seeds, (0.5,) * len(seeds))


def said(judged: Judged, *sides: Side, one: bool = False) -> tuple[str, str]:
    return (
        " ".join(verdicts(judged, sides, images=1165, one_configuration=one)),
        " ".join(notes(judged, sides, one_configuration=one)),
    )


def table(values: Sequence[float], noise: float = 0.0, *, seed: int = 0) -> dict[str, np.ndarray]:
    """AP and three classes, and draws around them that no other run shares."""
    random = np.random.default_rng(seed)
    names = ["AP", "AP/a", "AP/b", "AP/rare"]
    return {
        name: value + np.concatenate([[0], random.normal(0, noise, 400)])
        for name, value in zip(names, values, strict=False)
    }


COUNTS = {"AP/a": 100, "AP/b": 50, "AP/rare": FEWEST_IMAGES - 1}


def judged_of(*tables: dict[str, np.ndarray], sides: Sequence[Sequence[int]]) -> Judged:
    return judge(tables, sides, headlines=HEADLINES, images=1165, images_of_classes=COUNTS)


def test_the_better_one_is_named_whichever_came_first() -> None:
    worse, better = table([0.5, 0.5, 0.5, 0.1], 0.004), table([0.531, 0.6, 0.5, 0.9], 0.004, seed=1)
    verdict, note = said(judged_of(worse, better, sides=((0,), (1,))), side("A", 0), side("B", None))
    assert verdict.startswith("B is better than A by 0.031 AP [0.0")
    assert "One run of each" in note
    # The rare class differs most, and is not judged.
    assert "Of 2 differences of classes 1 lie outside of 0 one by one, and 0.1 would by chance alone" in note
    assert "together 1 are more than chance" in note
    assert "1 with fewer than 10 images are not judged" in note
    verdict, _ = said(judged_of(better, worse, sides=((0,), (1,))), side("A", 0), side("B", 0))
    assert verdict.startswith("A is better than B by 0.031 AP [0.0")


def test_of_fewer_images_than_a_class_needs_no_verdict_is_given() -> None:
    judged = judged_of(table([0.5], 0.004), table([0.9], 0.004, seed=1), sides=((0,), (1,)))
    (verdict,) = verdicts(judged, (side("A", 0), side("B", 0)), images=FEWEST_IMAGES - 1, one_configuration=False)
    assert verdict == "9 images are too few to tell A and B apart: +0.400 AP on these."


def test_a_class_of_one_image_has_no_interval() -> None:
    one = dict.fromkeys(COUNTS, 100) | {"AP/rare": 1}
    tables = table([0.5, 0.5, 0.5, 0.1]), table([0.5, 0.5, 0.5, 0.9])
    judged = judge(tables, ((0,), (1,)), headlines=HEADLINES, images=1165, images_of_classes=one)
    (rare,) = (row.differences[0] for row in judged.classes if row.score == "AP/rare")
    assert rare is not None
    assert not rare.has_interval
    assert not rare.excludes_zero


def test_what_the_images_cannot_show_is_said_with_their_number() -> None:
    first, second = table([0.5], 0.01), table([0.505], 0.01, seed=1)
    verdict, _ = said(judged_of(first, second, sides=((0,), (1,))), side("A", 0), side("B", 0))
    assert verdict.startswith("No difference between A and B that 1,165 images could show: +0.005 AP [-0.02")


def test_seeds_widen_the_interval_of_their_configurations() -> None:
    tables = [table([value], 0.001, seed=k) for k, value in enumerate([0.50, 0.52, 0.54, 0.53, 0.55, 0.57])]
    alone = judged_of(tables[0], tables[3], sides=((0,), (1,)))
    both = judged_of(*tables, sides=((0, 1, 2), (3, 4, 5)))
    assert both.rows[0].values == pytest.approx((0.52, 0.55))
    assert both.rows[0].spreads == pytest.approx((0.02, 0.02))
    assert both.freedom == 4
    # Student's t at 4 is 2.776; the means differ by a standard error of 0.02 * sqrt(2 / 3).
    half = 2.776 * 0.02 * math.sqrt(2 / 3)
    assert both.main[0].high - both.main[0].low == pytest.approx(2 * half, rel=0.25)
    assert alone.main[0].excludes_zero
    verdict, note = said(both, side("A", 0, 1, 2), side("B", 0, 1, 2))
    assert verdict.startswith("No difference between A and B")
    assert "3 seeds of each side; how much they change (AP, standard deviation: A 0.020, B 0.020)" in note


def test_runs_of_one_configuration_are_equal_even_where_the_images_tell_them_apart() -> None:
    tables = [table([value], 0.001, seed=k) for k, value in enumerate([0.50, 0.51, 0.54])]
    judged = judged_of(*tables, sides=((0,), (1,), (2,)))
    verdict, note = said(judged, side("A", 0), side("B", 1), side("C", 2), one=True)
    assert verdict.startswith("A, B and C are equal: one configuration, whose runs differ in the seed alone.")
    assert "AP 0.517 on average, 0.021 spread (standard deviation), 0.500 to 0.540." in verdict
    assert "The images do tell B from A (+0.010 AP" in verdict
    assert "One run of each" not in note
    close = [table([0.5], 0.01, seed=k) for k in range(3)]
    verdict, _ = said(judged_of(*close, sides=((0,), (1,), (2,))), side("A", 0), side("B", 1), side("C", 2), one=True)
    assert "do not tell them apart" in verdict


def test_of_several_sides_all_verdicts_hold_together() -> None:
    tables = [table([0.5], 0.01, seed=k) for k in range(4)]
    two, four = judged_of(*tables[:2], sides=((0,), (1,))), judged_of(*tables, sides=((0,), (1,), (2,), (3,)))
    widths = [each.main[0].high - each.main[0].low for each in (two, four)]
    assert widths[1] > 1.1 * widths[0]
    inner = four.rows[0].differences[0]
    assert inner is not None
    assert inner.high - inner.low == pytest.approx(widths[0])
    assert "3 intervals are wide enough to hold all together" in said(four, *map(side, "ABCD"))[1]


def test_a_score_that_one_run_cannot_tell_has_no_difference() -> None:
    lacking = table([0.5, 0.5], 0.01)
    judged = judged_of(lacking, table([0.5, 0.5, 0.4], 0.01, seed=1), sides=((0,), (1,)))
    row = next(row for row in judged.classes if row.score == "AP/b")
    assert row.values[0] is None
    assert row.values[1] == pytest.approx(0.4)
    assert row.differences == (None,)
