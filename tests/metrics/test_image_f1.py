from __future__ import annotations

from typing import Any

import numpy as np

from mnv2dense.metrics.image_f1 import image_f1
from mnv2dense.metrics.image_ranking import ImageScore


def truth(*rows: tuple[list[float], int], crowd: bool = False) -> list[dict[str, Any]]:
    return [{"bbox": box, "category_id": label, "iscrowd": int(crowd)} for box, label in rows]


def found(*rows: tuple[float, float, float, float, float, int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(rows, np.float32).reshape(-1, 6)


def test_one_found_one_missed_and_one_wrong_are_a_half() -> None:
    objects = truth(([0, 0, 10, 10], 0), ([50, 50, 10, 10], 0))
    boxes = found((0, 0, 10, 10, 0.9, 0), (80, 80, 90, 90, 0.8, 0))
    assert image_f1(boxes, objects) == ImageScore(0.5, 3)


def test_another_class_or_a_low_score_does_not_count_as_found() -> None:
    objects = truth(([0, 0, 10, 10], 0))
    assert image_f1(found((0, 0, 10, 10, 0.9, 1)), objects) == ImageScore(0.0, 2)
    assert image_f1(found((0, 0, 10, 10, 0.39, 0)), objects) == ImageScore(0.0, 1)


def test_an_object_is_found_once_by_the_surest_box() -> None:
    objects = truth(([0, 0, 10, 10], 0))
    score = image_f1(found((0, 0, 10, 9, 0.5, 0), (0, 0, 10, 10, 0.9, 0)), objects)
    assert score is not None
    assert score.value == 2 / 3


def test_a_box_in_a_region_to_ignore_is_neither_right_nor_wrong() -> None:
    objects = truth(([0, 0, 10, 10], 0)) + truth(([20, 20, 50, 50], 0), crowd=True)
    assert image_f1(found((0, 0, 10, 10, 0.9, 0), (30, 30, 40, 40, 0.9, 0)), objects) == ImageScore(1.0, 1)


def test_where_there_is_nothing_a_box_is_wrong_and_none_is_not_judged() -> None:
    assert image_f1(found((0, 0, 10, 10, 0.9, 0)), []) == ImageScore(0.0, 1)
    assert image_f1(found(), []) is None
