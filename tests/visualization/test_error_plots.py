"""Plots and pictures of what went wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnv2dense.visualization.crops import FOUND_COLOR, TRUE_COLOR, draw_case, window_around
from mnv2dense.visualization.error_plots import _short, plot_box_confusion, plot_errors


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_costs_and_reliability_stand_side_by_side_and_each_alone(tmp_path: Path) -> None:
    bins = (np.array([0, 3]), np.array([np.nan, 0.8]), np.array([np.nan, 0.5]))
    costs = {"$Cls$": 0.1, "Loc": 0.0}
    both = size_of(plot_errors(costs, bins, tmp_path / "both.png", title="costs", x="AP50"))
    for name, given, diagram in (("bars", costs, None), ("bins", {}, bins), ("none", {}, None)):
        alone = size_of(plot_errors(given, diagram, tmp_path / f"{name}.png", title="costs", x="AP50"))
        assert alone[0] == both[0] // 2


@pytest.mark.parametrize("classes", [1, 80])
def test_boxes_are_confused_among_any_number_of_classes(classes: int, tmp_path: Path) -> None:
    counts = np.random.default_rng(0).integers(0, 5, (classes + 1, classes + 1))
    names = [f"class {k}" for k in range(classes)]
    width, height = size_of(plot_box_confusion(counts, names, tmp_path / "confusion.png", at="score 0.5"))
    assert max(width, height) < 2200


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (1234, "1.2k"), (12_345, "12k"), (2_500_000, "2.5M")]
)
def test_large_numbers_fit_a_cell(count: int, text: str) -> None:
    assert _short(count) == text


def test_a_window_shows_boxes_and_what_is_around_them_within_the_image() -> None:
    assert window_around([(100, 100, 200, 150)], (400, 400))[:4] == (65, 82, 170, 86)
    assert window_around([(0, 0, 10, 10)], (400, 400))[:4] == (0, 0, 29, 29)
    assert window_around([(-50, -50, -10, -10)], (40, 30))[2:4] == (4, 4)  # a box beside the image
    tiny = window_around([(0, 0, 1, 1)], (1, 1))
    assert tiny[2:4] == (1, 1)
    assert tiny.scale == 320


def test_boxes_are_drawn_where_they_are_in_the_enlarged_part() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    drawn = draw_case(image, [((8, 8, 56, 56), "cat 0.9")], [((16, 16, 48, 48), "cat")])
    assert drawn.shape == (320, 320, 3)  # five times as large
    assert tuple(drawn[160, 40]) == FOUND_COLOR
    assert tuple(drawn[160, 80]) == TRUE_COLOR
    assert not image.any()
