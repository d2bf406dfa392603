"""Images that are alike, as groups that share a fold."""

from __future__ import annotations

import numpy as np

from mnv2dense.doctor.alike import groups_of
from mnv2dense.doctor.copies import Pair


def near(first: int, second: int, correlation: float = 0.96) -> Pair:
    return Pair(first, second, correlation, 0, is_copy=False)


def test_images_that_are_alike_by_way_of_others_are_one_group() -> None:
    groups = groups_of([near(7, 3), near(9, 7), Pair(21, 20, 1.0, 0, is_copy=True)], 40)
    assert groups[3] == groups[7] == groups[9]
    assert groups[20] == groups[21] != groups[3]
    assert len(set(groups.tolist())) == 40 - 2 - 1


def test_a_film_that_is_the_whole_set_makes_ten_groups_or_more_and_copies_stay_together() -> None:
    film = [near(place, place - 1) for place in range(1, 100)]
    groups = groups_of([*film, Pair(99, 0, 0.995, 0, is_copy=True)], 100)
    assert np.bincount(groups).max() <= 10
    assert groups[99] == groups[0]


def test_what_is_closest_joins_first() -> None:
    groups = groups_of([near(1, 0, 0.951), near(2, 1, 0.98)], 20)
    assert groups[1] == groups[2] != groups[0]


def test_of_a_few_images_each_is_a_group() -> None:
    assert groups_of([near(1, 0)], 8).tolist() == list(range(8))
