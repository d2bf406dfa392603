from __future__ import annotations

from itertools import pairwise

import pytest

from mnv2dense.ops.windows import window_starts


@pytest.mark.parametrize(
    ("side", "window", "reach", "step", "starts"),
    [
        (250, 100, 75, 1, [0, 75, 150]),
        (251, 100, 75.5, 1, [0, 76, 151]),
        (100, 100, 75, 1, [0]),
        (60, 100, 75, 1, [0]),
        (128, 64, 48, 16, [0, 32, 64]),
        (113, 65, 48, 16, [0, 48]),
    ],
)
def test_windows_lie_evenly_from_the_first_pixel_to_the_last(
    side: int, window: int, reach: float, step: int, starts: list[int]
) -> None:
    assert window_starts(side, window, reach, step=step) == starts


@pytest.mark.parametrize("step", [1, 8, 16])
def test_no_window_begins_further_on_than_the_reach_and_all_on_steps(step: int) -> None:
    for cells in range(4, 60):
        starts = window_starts(cells * step, 4 * step, 3 * step, step=step)
        assert starts[0] == 0
        assert starts[-1] + 4 * step == cells * step
        assert all(start % step == 0 for start in starts)
        assert all(0 < following - one <= 3 * step for one, following in pairwise(starts))
