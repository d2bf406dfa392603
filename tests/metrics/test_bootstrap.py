"""Images drawn anew: what intervals are, and what stands out of many differences."""

from __future__ import annotations

import numpy as np
import pytest

from mnv2dense.metrics.bootstrap import draws, interval, stand_out, with_seeds


def test_a_draw_has_as_many_images_as_there_are_and_is_the_same_for_the_same_seed() -> None:
    made = draws(30, 200, seed=3)
    assert made.shape == (200, 30)
    assert (made.sum(axis=1) == 30).all()
    assert made.max() > 3
    assert np.array_equal(made, draws(30, 200, seed=3))
    assert not np.array_equal(made, draws(30, 200, seed=4))


def test_with_many_images_an_interval_is_the_percentiles_and_with_few_it_is_wider() -> None:
    replicates = np.arange(10_001.0)[None] / 10_000
    many, few = interval(replicates, images=100_000), interval(replicates, images=10)
    assert [many.low[0], many.high[0]] == pytest.approx([0.025, 0.975], abs=1e-4)
    # Student's t has 2.262 at 9 degrees of freedom, a normal sqrt(10 / 9) of it has 0.0086 beyond.
    assert [few.low[0], few.high[0]] == pytest.approx([0.0086, 0.9914], abs=2e-4)


def test_draws_that_cannot_tell_are_left_out_and_a_score_without_any_has_no_interval() -> None:
    replicates = np.array([[1.0, np.nan, 1.0, np.nan], [np.nan] * 4])
    found = interval(replicates, images=50)
    assert (found.low[0], found.high[0]) == (1.0, 1.0)
    assert np.isnan(found.low[1])
    assert np.isnan(found.high[1])


def test_few_seeds_make_wide_intervals() -> None:
    replicates = np.zeros((2, 20_000))
    wide, wider = (with_seeds(replicates, np.array([0.0, 0.04]), freedom, seed=0) for freedom in (30, 2))
    assert not wide[0].any()
    assert np.quantile(wide[1], 0.975) == pytest.approx(0.2 * 2.042, abs=0.02)  # Student's t at 30
    assert np.quantile(wider[1], 0.975) == pytest.approx(0.2 * 4.303, abs=0.08)  # at 2


def test_what_is_far_out_is_marked_and_what_one_of_many_is_by_chance_is_not() -> None:
    random = np.random.default_rng(0)
    spread = random.normal(0, 1, (40, 2000))
    differences = np.zeros(40)
    differences[[0, 1]] = 6.0, 2.2  # of 40, the largest is beyond 2.2 more often than not
    differences[2] = np.nan
    marked = stand_out(differences, spread + differences[:, None])
    assert np.flatnonzero(marked).tolist() == [0]
    alone = stand_out(differences[1:2], spread[1:2] + 2.2)
    assert alone.tolist() == [True]


def test_a_score_that_never_varies_is_not_marked() -> None:
    assert not stand_out(np.array([0.5, 0.1]), np.array([[0.5] * 10, [0.1] * 10])).any()
