from __future__ import annotations

import numpy as np
import pytest

from mnv2dense.data.augment.windows import View, centres_inside, crop_window, zoom_out_window
from mnv2dense.ops.windows import Window
from mnv2dense.types import IGNORE_LABEL

IMAGE = Window(0, 0, 500, 375)


def iou(window: Window, box: tuple[float, float, float, float]) -> float:
    width = max(0.0, min(window.right, box[2]) - max(window.left, box[0]))
    height = max(0.0, min(window.bottom, box[3]) - max(window.top, box[1]))
    area = (window.right - window.left) * (window.bottom - window.top)
    return width * height / (area + (box[2] - box[0]) * (box[3] - box[1]) - width * height)


@pytest.mark.parametrize("minimum", [0.1, 0.3, 0.5, 0.7])
def test_a_crop_reaches_its_minimum_overlap_within_its_limits(minimum: float) -> None:
    box = (100.0, 80.0, 400.0, 300.0)
    cropped = 0
    for seed in range(30):
        window = crop_window(IMAGE, np.array([box]), (minimum,), np.random.default_rng(seed))
        if window == IMAGE:
            continue
        cropped += 1
        assert iou(window, box) >= minimum
        assert 0 <= window.left < window.right <= 500
        assert 0 <= window.top < window.bottom <= 375
        sides = (window.right - window.left) / 500, (window.bottom - window.top) / 375
        assert min(sides) > 0.299
        assert 0.49 < sides[0] / sides[1] < 2.01
    assert cropped > 5


def test_a_crop_holds_the_centre_of_an_object_even_without_a_minimum_overlap() -> None:
    corner = np.array([[480.0, 355.0, 500.0, 375.0]])
    windows = [crop_window(IMAGE, corner, (0.0,), np.random.default_rng(seed)) for seed in range(30)]
    assert all(centres_inside(np.array([window]), corner).all() for window in windows)
    assert sum(window != IMAGE for window in windows) > 5


def test_an_overlap_of_one_is_the_whole_image() -> None:
    box = np.array([[100.0, 80.0, 400.0, 300.0]])
    assert crop_window(IMAGE, box, (1.0,), np.random.default_rng(0)) == IMAGE


def test_an_overlap_out_of_reach_leaves_another_to_be_tried() -> None:
    tiny = np.array([[250.0, 180.0, 254.0, 184.0]])  # IoU with any crop: below 0.01
    assert crop_window(IMAGE, tiny, (0.9,), np.random.default_rng(0)) == IMAGE
    windows = [crop_window(IMAGE, tiny, (0.9, 0.0), np.random.default_rng(seed)) for seed in range(20)]
    assert sum(window != IMAGE for window in windows) > 15


def test_crops_of_a_one_pixel_image_are_that_pixel() -> None:
    dot = Window(0, 0, 1, 1)
    assert crop_window(dot, np.array([[0.0, 0, 1, 1]]), (0.0,), np.random.default_rng(0)) == dot


def test_zoom_out_keeps_the_image_on_a_canvas_of_the_ratio() -> None:
    for seed in range(20):
        window = zoom_out_window(30, 40, 2.5, np.random.default_rng(seed))
        assert (window.right - window.left, window.bottom - window.top) == (100, 75)
        assert window.left <= 0
        assert window.top <= 0
        assert window.right >= 40
        assert window.bottom >= 30


def test_a_crop_shows_its_part_of_the_image() -> None:
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    view = View(Window(1, 2, 5, 4), 4, 6)
    assert np.array_equal(view.of_image(image, (0, 0, 0)), image[2:4, 1:5])
    # The whole box, one whose centre (0.5, 1) lies outside, and a region to ignore that is seen in part.
    rows = np.array([[2, 2, 4, 4, 7], [0, 0, 1, 2, 7], [0, 0, 2, 3, IGNORE_LABEL]]) / [6, 4, 6, 4, 1]
    assert (view.of_rows(rows) * [4, 2, 4, 2, 1]).round(6).tolist() == [
        [1, 0, 3, 2, 7],
        [0, 0, 1, 1, IGNORE_LABEL],
    ]


def test_a_region_to_ignore_that_is_not_seen_is_gone() -> None:
    rows = np.array([[0, 0, 0.1, 0.1, IGNORE_LABEL]])
    assert View(Window(50, 50, 100, 100), 100, 100).of_rows(rows).shape == (0, 5)


def test_zoom_out_fills_around_the_image_and_the_mask() -> None:
    image = np.full((2, 2, 3), 200, np.uint8)
    view = View(Window(-1, -2, 3, 2), 2, 2)
    shown = view.of_image(image, (1, 2, 3))
    assert shown[0, 0].tolist() == [1, 2, 3]
    assert shown[:, :, 0].tolist() == [[1] * 4, [1] * 4, [1, 200, 200, 1], [1, 200, 200, 1]]
    mask = view.of_mask(np.array([[0, 1], [2, 3]], np.uint8))
    assert mask.tolist() == [[255] * 4, [255] * 4, [255, 0, 1, 255], [255, 2, 3, 255]]
    assert view.of_rows(np.array([[0.0, 0, 1, 1, 5]])).tolist() == [[0.25, 0.5, 0.75, 1.0, 5]]


def test_a_large_canvas_is_shrunk_with_the_boxes_on_the_pixels() -> None:
    image = np.zeros((600, 900, 3), np.uint8)
    image[100:400, 300:600] = 255
    view = View(Window(-701, -333, 2899, 2067), 600, 900)  # four times the sides
    shown = view.of_image(image, (0, 0, 0))
    height, width = shown.shape[:2]
    assert height * width <= 1.01 * 600 * 900
    (row,) = view.of_rows(np.array([[300 / 900, 100 / 600, 600 / 900, 400 / 600, 1]]))
    bright = shown[:, :, 0] > 127
    columns, rows = np.nonzero(bright.any(axis=0))[0], np.nonzero(bright.any(axis=1))[0]
    painted = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    assert np.abs(painted - row[:4] * [width, height, width, height]).max() <= 0.6
