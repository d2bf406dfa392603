"""Boxes that lie wrong or are missing."""

from __future__ import annotations

import time

import numpy as np
import pytest

from mnv2dense.doctor.frozen import true_boxes
from mnv2dense.doctor.wrong_boxes import missing_boxes, shifted_boxes
from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.types import IGNORE_LABEL


def truth_of(*rows: tuple[int, int, int, int, int, int], images: int = 2) -> TrueBoxes:
    """(image, label, x1, y1, x2, y2)."""
    table = np.array(rows)
    return true_boxes(images, table[:, 0], table[:, 2:], table[:, 1])


def found_of(*rows: tuple[int, float, int, int, int, int]) -> FoundBoxes:
    """(image, score, x1, y1, x2, y2)."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return FoundBoxes(table[:, 0].astype(np.int64), table[:, 2:], np.zeros(len(table), np.int64), table[:, 1])


def test_a_shifted_box_scores_by_what_speaks_for_another_place_and_for_its_own() -> None:
    truth = truth_of((0, 0, 0, 0, 10, 10), (0, 0, 50, 50, 60, 60))
    found = found_of((0, 0.8, 5, 0, 15, 10), (0, 0.3, 0, 0, 10, 10), (0, 0.9, 50, 50, 60, 60))
    shifted = shifted_boxes(found, truth)
    elsewhere = 0.8 * (1 - 50 / 150)
    assert shifted.scores.tolist() == pytest.approx([elsewhere / (elsewhere + 2 * 0.3 + 0.1), 0.0])
    assert shifted.proposed.tolist() == [[5, 0, 15, 10], [50, 50, 60, 60]]


def test_a_find_speaks_for_the_object_that_it_overlaps_most() -> None:
    truth = truth_of((0, 0, 0, 0, 10, 10), (0, 0, 6, 0, 16, 10))
    shifted = shifted_boxes(found_of((0, 0.9, 6, 0, 16, 10)), truth)
    assert shifted.scores.tolist() == [0.0, 0.0], "the first object's neighbour was found, not the object elsewhere"


def test_objects_of_which_nothing_was_found_and_regions_to_ignore_are_not_shifted() -> None:
    truth = truth_of((0, 0, 0, 0, 10, 10), (1, IGNORE_LABEL, 0, 0, 10, 10))
    shifted = shifted_boxes(found_of((1, 0.9, 2, 0, 12, 10)), truth)
    assert shifted.scores.tolist() == [0.0, 0.0]
    assert shifted.proposed.tolist() == truth.corners.tolist()


def test_a_missing_box_is_a_find_that_nothing_annotated_explains() -> None:
    truth = truth_of((0, 0, 0, 0, 10, 10), (0, IGNORE_LABEL, 40, 0, 60, 20), (1, 0, 0, 0, 10, 10))
    found = found_of(
        (0, 0.9, 20, 20, 30, 30),  # missing
        (0, 0.8, 21, 20, 31, 30),  # the same, less sure
        (0, 0.9, 1, 0, 11, 10),  # annotated
        (0, 0.9, 2, 2, 6, 6),  # a part of it
        (0, 0.9, 41, 1, 59, 19),  # to be ignored
        (0, 0.01, 80, 80, 90, 90),  # hardly seen
        (1, 0.95, 30, 30, 40, 40),  # missing in another image
    )
    missing = missing_boxes(found, truth)
    assert missing.rows.tolist() == [6, 0]
    assert missing.scores.tolist() == [0.95, 0.9]


def test_a_find_that_only_falls_to_one_that_falls_itself_stays() -> None:
    truth = truth_of((1, 0, 0, 0, 10, 10))
    chain = found_of((0, 0.9, 0, 0, 10, 10), (0, 0.8, 0, 3, 10, 13), (0, 0.7, 0, 6, 10, 16))  # neighbours: IoU 70/130
    assert missing_boxes(chain, truth).rows.tolist() == [0, 2]


def test_nothing_found_and_nothing_annotated_are_no_suspects() -> None:
    nothing, empty = found_of(), true_boxes(3, np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0, np.int64))
    assert shifted_boxes(nothing, empty).scores.shape == (0,)
    assert missing_boxes(nothing, empty).rows.shape == (0,)


def test_thousands_of_boxes_take_a_moment() -> None:
    rng = np.random.default_rng(0)
    images, low = np.repeat(np.arange(500), 60), rng.uniform(0, 400, (30_000, 2))
    found = FoundBoxes(
        images, np.concatenate([low, low + 60], axis=1), np.zeros(30_000, np.int64), rng.uniform(0, 1, 30_000)
    )
    truth = true_boxes(500, images[::5], found.boxes[::5] + 5, np.zeros(6_000, np.int64))
    start = time.process_time()
    shifted_boxes(found, truth)
    missing_boxes(found, truth)
    assert time.process_time() - start < 3
