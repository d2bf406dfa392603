from __future__ import annotations

import pytest

from mnv2dense.utils.spread import evenly


@pytest.mark.parametrize(
    ("length", "count", "indices"),
    [(10, 4, [0, 2, 5, 7]), (999, 3, [0, 333, 666]), (3, 8, [0, 1, 2]), (5, 1, [0]), (0, 4, []), (4, 0, [])],
)
def test_indices_are_spread_over_all_and_never_more_than_asked_for(length: int, count: int, indices: list[int]) -> None:
    assert evenly(length, count) == indices
