"""The threshold at which F1 is best, on examples that can be counted by hand."""

from __future__ import annotations

import pytest

from mnv2dense.metrics.best_threshold import BestThreshold, best_threshold
from tests.helpers.box_columns import Found, Object, found_boxes, true_boxes

CAT, DOG = 0, 1


def image(
    found: list[tuple[int, float, int]], truth: list[tuple[int, int]], *, crowd: bool = False
) -> tuple[list[Found], list[Object]]:
    """Boxes of 10 by 10 pixels at (x, score, label), objects at (x, label)."""
    return [(x, 0, x + 10, 10, score, label) for x, score, label in found], [
        (x, 0, 10, 10, label, crowd) for x, label in truth
    ]


def best(images: list[tuple[list[Found], list[Object]]], classes: int) -> BestThreshold | None:
    found, truth = zip(*images, strict=True)
    return best_threshold(found_boxes(*found), true_boxes(*truth), classes)


def test_it_is_the_highest_of_those_that_keep_what_is_right_and_leave_out_what_is_wrong() -> None:
    images = [image([(0, 0.9, CAT), (100, 0.3, CAT)], [(0, CAT)]), image([(0, 0.7, CAT)], [(1, CAT)])]
    assert best(images, 2) == (0.7, 1.0)


def test_classes_count_alike_and_those_without_objects_do_not() -> None:
    # From 0.5 on both cats and the wrong dog are shown: F1 of cats 1, of dogs 0. From 0.2 on the right dog is, too.
    images = [
        image([(0, 0.9, CAT), (0, 0.5, CAT), (50, 0.5, DOG), (200, 0.2, DOG), (0, 0.9, 2)], [(0, CAT), (200, DOG)]),
    ]
    found = best(images, 3)
    assert found is not None
    assert found.threshold == 0.2
    # Cats: one right, the second box on the same object wrong: 2 / (2 + 1). Dogs: one right of two boxes: 2 / (2 + 1).
    assert found.f1 == pytest.approx((2 / 3 + 2 / 3) / 2)


def test_boxes_in_a_crowd_are_neither_right_nor_wrong() -> None:
    crowd = image([(0, 0.9, CAT)], [(0, CAT)], crowd=True)
    assert best([crowd, image([(0, 0.4, CAT)], [(0, CAT)])], 1) == (0.4, 1.0)


def test_where_nothing_is_right_there_is_none() -> None:
    assert best([image([(100, 0.9, CAT)], [(0, CAT)])], 1) is None
    assert best([image([(0, 0.9, CAT)], [])], 1) is None
