"""Images drawn anew: what intervals are, and what stands out of many differences."""

from __future__ import annotations

import numpy as np
import pytest

from mnv2dense.metrics.bootstrap import Errors, added, draws, errors_by_images, stand_out


def test_a_draw_has_as_many_images_as_there_are_and_is_the_same_for_the_same_seed() -> None:
    made = draws(30, 200, seed=3)
    assert made.shape == (200, 30)
    assert (made.sum(axis=1) == 30).all()
    assert made.max() > 3
    assert np.array_equal(made, draws(30, 200, seed=3))
    assert not np.array_equal(made, draws(30, 200, seed=4))


def test_errors_are_the_spread_over_draws_and_hang_on_how_many_images_there_are() -> None:
    replicates = np.tile([0.4, 0.6], (2, 500))
    errors = errors_by_images(replicates, np.array([10_001, 11]))
    assert errors.standard == pytest.approx([0.1, 0.1 * np.sqrt(1.1)], rel=1e-4)
    # Student's t of tables: 1.960 at 10,000 degrees of freedom, 2.228 at 10; and 4.587 for 99.9%.
    assert errors.reach() == pytest.approx([0.196, 2.228 * 0.1 * np.sqrt(1.1)], rel=1e-3)
    assert errors.reach(0.999)[1] == pytest.approx(4.587 * 0.1 * np.sqrt(1.1), rel=1e-3)


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.706), (2, 4.303), (4, 2.776), (30, 2.042), (4999, 1.9604)])
def test_student_s_t_is_that_of_tables(freedom: int, quantile: float) -> None:
    errors = Errors(np.array([1.0]), np.array([float(freedom)]))
    assert errors.reach() == pytest.approx([quantile], rel=3e-4)
    assert errors.chances(np.array([quantile])) == pytest.approx([0.05], rel=1e-3)


def test_draws_that_cannot_tell_are_left_out_and_a_score_without_any_has_no_error() -> None:
    errors = errors_by_images(np.array([[1.0, np.nan, 3.0, np.nan], [np.nan] * 4]), np.array([50, 50]))
    assert errors.standard[0] == pytest.approx(np.sqrt(50 / 49))
    assert np.isnan(errors.reach()[1])
    assert np.isnan(errors.chances(np.array([0.1, np.nan]))[1])


def test_of_a_single_image_nothing_is_known() -> None:
    # It is in every draw that can tell, so that none differs from another.
    errors = errors_by_images(np.array([[0.3, 0.3, np.nan], [0.3, 0.3, 0.3]]), np.array([1, 2]))
    assert np.isnan(errors.reach()[0])
    assert errors.reach()[1] == 0


def test_two_sources_add_up_and_the_less_known_one_decides_how_well_both_are_known() -> None:
    many, few = Errors(np.array([0.3, 0.0]), np.array([100.0, 100])), Errors(np.array([0.4, 0.0]), np.array([2.0, 2]))
    both = added(many, few)
    assert both.standard == pytest.approx([0.5, 0.0])
    assert both.freedom[0] == pytest.approx(0.5**4 / (0.3**4 / 100 + 0.4**4 / 2))
    assert both.reach()[1] == 0
    assert both.chances(np.array([0.0, 0.0]))[1] == 1


def test_what_is_far_out_is_marked_and_what_one_of_many_is_by_chance_is_not() -> None:
    # Of four, by hand: 0.05 / 4, / 3, / 2, and then 0.026 is beyond 0.05 / 2 and ends it.
    assert stand_out(np.array([0.9, 0.012, np.nan, 0.016, 0.026])).tolist() == [False, True, False, True, False]
    assert stand_out(np.array([0.03])).tolist() == [True]
    assert stand_out(np.array([0.03, 0.5])).tolist() == [False, False]
    assert not len(stand_out(np.zeros(0)))
