from __future__ import annotations

import pytest
import torch

from mnv2dense.ops.cells import cells_at, pixels_at


def test_edges_lie_on_edges() -> None:
    at = cells_at(torch.tensor([0.0, 4.0, 8.0]), length=8, cells=2, align_corners=False)
    assert at.tolist() == [-0.5, 0.5, 1.5]  # a cell's centre is its number, so the map ends half a cell beyond


def test_centres_of_corners_lie_on_centres_of_corners() -> None:
    at = cells_at(torch.tensor([0.5, 4.5, 8.5]), length=9, cells=3, align_corners=True)
    assert at.tolist() == [0, 1, 2]


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(("length", "cells"), [(513, 33), (320, 20), (100, 7), (64, 64)])
def test_there_and_back_is_the_same_place(length: int, cells: int, align_corners: bool) -> None:
    places = torch.arange(cells, dtype=torch.float64)
    there = pixels_at(places, length=length, cells=cells, align_corners=align_corners)
    torch.testing.assert_close(cells_at(there, length=length, cells=cells, align_corners=align_corners), places)


@pytest.mark.parametrize("align_corners", [True, False])
def test_a_map_of_one_cell_is_no_division_by_nothing(align_corners: bool) -> None:
    assert cells_at(torch.tensor(0.5), length=1, cells=1, align_corners=align_corners) == 0
    assert pixels_at(torch.tensor(0.0), length=1, cells=1, align_corners=align_corners) == 0.5
