"""The memory that a search for wrong labels takes."""

from __future__ import annotations

import pytest

from mnv2dense.doctor.memory_need import bytes_needed, parts_for


@pytest.mark.parametrize(
    ("task", "size", "each"),
    [
        ("detection", (320, 320), 40 * 40 * 32 * 2 + 20 * 20 * 96 * 2 + 10 * 10 * 320 * 2 + 7 * (16_572 + 75_264)),
        ("segmentation", (360, 480), 45 * 60 * (32 + 11) * 2 + 45 * 60 / 4 * 320 * 2),
        ("classification", (224, 224), 16_572),
    ],
)
def test_it_grows_with_images_pixels_and_objects(task: str, size: tuple[int, int], each: float) -> None:
    assert bytes_needed(task, 1000, 7000, size, 11) == 1000 * each


def test_where_a_model_judges_there_are_neither_maps_nor_views() -> None:
    assert bytes_needed("detection", 1000, 7000, (320, 320), 11, by_model=True) == 7000 * 16_572


def test_half_of_what_is_free_is_enough_for_each_part() -> None:
    assert parts_for(29 << 30, 24 << 10) == 3
    assert parts_for(12 << 30, 24 << 10) == 1
    assert parts_for(29 << 30, None) == 1, "nobody knows"
    assert parts_for(100, 0.0) == 100
