"""The threshold at which F1 is best, on examples that can be counted by hand."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.metrics.threshold_curves import LEAST_OBJECTS, BestThreshold, threshold_curves
from mnv2dense.types import BoxColumns
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
    return threshold_curves(found_boxes(*found), true_boxes(*truth), classes).best()


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


def test_precision_recall_and_f1_of_all_are_means_over_the_same_classes() -> None:
    # The wrong boxes of a class without objects lower none of them, as they lower no AP.
    found, truth = image([(0, 0.9, CAT), (200, 0.8, DOG)], [(0, CAT)])
    curves = threshold_curves(found_boxes(found), true_boxes(truth), 2)
    assert curves.at(0.5) == {"precision": 1.0, "recall": 1.0, "F1": 1.0}
    assert curves.at(0.5, DOG) == {"precision": 0.0, "recall": None, "F1": None}


def test_boxes_in_a_crowd_are_neither_right_nor_wrong() -> None:
    crowd = image([(0, 0.9, CAT)], [(0, CAT)], crowd=True)
    assert best([crowd, image([(0, 0.4, CAT)], [(0, CAT)])], 1) == (0.4, 1.0)


def test_where_nothing_is_right_there_is_none() -> None:
    assert best([image([(100, 0.9, CAT)], [(0, CAT)])], 1) is None
    assert best([image([(0, 0.9, CAT)], [])], 1) is None


def many(score: float, label: int, count: int, *, wrong: float | None = None) -> list[tuple[list[Found], list[Object]]]:
    """Images of one object, found with a score; with as many wrong boxes of another."""
    away = [] if wrong is None else [(100, wrong, label)]
    return [image([(0, score, label), *away], [(0, label)]) for _ in range(count)]


def test_a_class_of_many_objects_has_its_own_threshold_and_one_of_few_that_of_all() -> None:
    # From 0.6 on all cats are found and nothing wrong is; of dogs, found at 0.3 with wrong ones at 0.2, nothing is.
    images = many(0.6, CAT, 400, wrong=0.5) + many(0.3, DOG, 200, wrong=0.2) + many(0.9, 2, LEAST_OBJECTS - 1)
    found, truth = zip(*images, strict=True)
    curves = threshold_curves(found_boxes(*found), true_boxes(*truth), 3)
    assert curves.own_best(("cat", "dog", "cow")) == {"cat": 0.6, "dog": 0.3}
    chosen = curves.chosen(("cat", "dog", "cow"))
    assert chosen is not None
    # At 0.3 F1 of cats is 2 / 3, of the others 1.
    assert chosen.overall == 0.3
    best = curves.best()
    assert best is not None
    assert best.f1 == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert chosen.of(("cat", "dog", "cow")) == (0.6, 0.3, 0.3)


def test_the_fewer_the_objects_the_closer_to_the_threshold_of_all() -> None:
    def own(count: int) -> float:
        dogs = many(0.3, DOG, count // 2) + many(0.7, DOG, count // 2)
        found, truth = zip(*many(0.6, CAT, 2000, wrong=0.5), *dogs, strict=True)
        return threshold_curves(found_boxes(*found), true_boxes(*truth), 2).own_best(("cat", "dog"))["dog"]

    # From 0.3 on all dogs are found, from 0.7 on half of them; of all objects, most of which are cats, 0.6 is the best.
    assert own(20) == 0.6
    assert own(500) == 0.3


def test_curves_by_hand_and_what_cannot_be_told_is_none() -> None:
    images = [image([(0, 0.9, CAT), (100, 0.4, CAT), (100, 0.9, DOG)], [(0, CAT), (50, CAT)])]
    found, truth = zip(*images, strict=True)
    curves = threshold_curves(found_boxes(*found), true_boxes(*truth), 2)
    assert curves.at(0.4, CAT) == {"precision": 0.5, "recall": 0.5, "F1": 0.5}
    assert curves.at(0.41, CAT) == {"precision": 1.0, "recall": 0.5, "F1": pytest.approx(2 / 3)}
    assert curves.at(0.95, CAT) == {"precision": None, "recall": 0.0, "F1": 0.0}
    assert curves.at(0.4, DOG) == {"precision": 0.0, "recall": None, "F1": None}
    # Of cats alone: dogs have no object.
    assert curves.at(0.4) == curves.at(0.4, CAT)
    written = curves.to_dict(("cat", "dog"))
    assert json.loads(json.dumps(written)) == written
    assert list(written["classes"]) == ["cat"]
    assert written["all"]["precision"][-1] is None


def test_half_a_million_boxes_take_about_a_second() -> None:
    random = np.random.default_rng(0)
    images, each = 5000, 100
    corners = random.uniform(0, 500, (images * each, 2))
    tables = np.column_stack(
        [corners, corners + 40, random.random(images * each), random.integers(0, 80, images * each)]
    ).astype(np.float32)
    found = FoundBoxes.of_tables(list(tables.reshape(images, each, 6)), range(images))
    places = np.repeat(np.arange(images), 7)
    chosen = places * each + np.tile(np.arange(7), images)
    boxes = np.column_stack([corners[chosen], np.full((len(chosen), 2), 38.0)])
    truth = TrueBoxes.of_columns(
        BoxColumns(
            np.arange(images),
            places,
            boxes,
            found.labels[chosen],
            np.zeros(len(chosen), np.bool_),
            np.ones(len(chosen)),
        )
    )
    begun = time.process_time()
    curves = threshold_curves(found, truth, 80)
    assert curves.objects.sum() == 35_000
    took = time.process_time() - begun
    assert took < 8, took
