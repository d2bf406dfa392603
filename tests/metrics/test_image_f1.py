from __future__ import annotations

import pytest

from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.metrics.image_f1 import image_f1
from tests.helpers.box_columns import Found, Object, found_boxes, true_boxes


def truth(*rows: tuple[tuple[float, float, float, float], int], crowd: bool = False) -> list[Object]:
    return [(*box, label, crowd) for box, label in rows]


def found(*rows: Found) -> FoundBoxes:
    return found_boxes(rows)


def of(objects: list[Object]) -> TrueBoxes:
    return true_boxes(objects)


def value(boxes: FoundBoxes, objects: list[Object]) -> float:
    score = image_f1(boxes, of(objects))
    assert score is not None
    return score.value


ONE = truth(((0, 0, 10, 10), 0))


def test_all_found_for_sure_is_one() -> None:
    assert value(found((0, 0, 10, 10, 1.0, 0)), ONE) == pytest.approx(1)


def test_one_found_one_missed_and_one_wrong_are_a_half() -> None:
    objects = truth(((0, 0, 10, 10), 0), ((50, 50, 10, 10), 0))
    boxes = found((0, 0, 10, 10, 1.0, 0), (80, 80, 90, 90, 1.0, 0))
    assert value(boxes, objects) == pytest.approx(2.1 / 4.1)  # 2 * 1 right; 2 boxes and 2 objects; 0.1 on both sides
    score = image_f1(boxes, of(objects))
    assert score is not None
    assert score.weight == 4


def test_a_box_counts_by_its_score_and_its_overlap() -> None:
    assert value(found((0, 0, 10, 10, 0.5, 0)), ONE) == pytest.approx((2 * 0.25 + 0.1) / (0.25 + 1 + 0.1))
    assert value(found((0, 0, 10, 5, 1.0, 0)), ONE) == pytest.approx((2 * 0.5 + 0.1) / (1 + 1 + 0.1))


def test_images_of_a_detector_that_is_sure_of_nothing_are_told_apart() -> None:
    hit, beside, two_missed = found((0, 0, 10, 10, 0.1, 0)), found((80, 80, 90, 90, 0.1, 0)), found()
    values = [value(hit, ONE), value(beside, ONE), value(two_missed, ONE + truth(((50, 50, 9, 9), 0)))]
    assert sorted(values, reverse=True) == values
    assert len(set(values)) == 3
    assert min(values) > 0


def test_another_class_does_not_count_as_found() -> None:
    assert value(found((0, 0, 10, 10, 1.0, 1)), ONE) == pytest.approx(0.1 / 2.1)


def test_an_object_is_found_once_by_the_surest_box() -> None:
    boxes = found((0, 0, 10, 10, 0.5, 0), (0, 0, 10, 10, 1.0, 0))
    assert value(boxes, ONE) == pytest.approx(2.1 / (1.25 + 1 + 0.1))


def test_a_box_in_a_region_to_ignore_is_neither_right_nor_wrong() -> None:
    objects = ONE + truth(((20, 20, 50, 50), 0), crowd=True)
    assert value(found((0, 0, 10, 10, 1.0, 0), (30, 30, 40, 40, 0.9, 0)), objects) == pytest.approx(1)


def test_where_there_is_nothing_a_shown_box_is_wrong_and_none_is_not_judged() -> None:
    assert value(found((0, 0, 10, 10, 1.0, 0)), []) == pytest.approx(0.1 / 1.1)
    assert image_f1(found((0, 0, 10, 10, 0.3, 0)), of([])) is None
    assert image_f1(found(), of([])) is None
