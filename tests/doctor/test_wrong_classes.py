"""Classes that are not believed, by what was learnt from all others."""

from __future__ import annotations

import numpy as np
import pytest

from mnv2dense.doctor.frozen import true_boxes
from mnv2dense.doctor.linear_probe import out_of_fold_probabilities
from mnv2dense.doctor.neighbours import without_neighbours
from mnv2dense.doctor.wrong_classes import doubt_classes


def test_a_label_is_doubted_by_what_is_left_of_its_probability() -> None:
    labels = np.array([0, 0, 1, 1])
    said = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]])
    doubts = doubt_classes(labels, said)
    assert doubts.scores.tolist() == pytest.approx([0.1, 0.8, 0.3, 0.4])
    assert doubts.proposed.tolist() == [1, 1, 0, 0]


def test_probabilities_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="3 labels and probabilities of 2 x 2"):
        doubt_classes(np.zeros(3, np.int64), np.full((2, 2), 0.5))


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes of 60 rows, 8 numbers each, that hardly overlap."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), 60)
    return (rng.normal(0, 1, (180, 8)) + 3 * np.eye(8)[labels]).astype(np.float32), labels


def test_wrong_labels_are_doubted_most() -> None:
    rows, labels = blobs(0)
    planted = np.arange(0, 180, 20)
    given = labels.copy()
    given[planted] = (given[planted] + 1) % 3
    said = out_of_fold_probabilities(rows, given, np.arange(180) % 5, classes=3)
    assert said.sum(axis=1) == pytest.approx(np.ones(180), abs=1e-5)
    doubts = doubt_classes(given, said)
    surest = np.argsort(-doubts.scores)[: len(planted)]
    assert set(surest.tolist()) == set(planted.tolist())
    assert doubts.proposed[planted].tolist() == labels[planted].tolist()


def test_a_row_does_not_teach_the_classifier_that_judges_it() -> None:
    rows, labels = blobs(1)
    before = out_of_fold_probabilities(rows, labels, np.arange(180) % 3, classes=3, distrusted=0)
    changed = labels.copy()
    changed[0] = 2
    after = out_of_fold_probabilities(rows, changed, np.arange(180) % 3, classes=3, distrusted=0)
    assert np.array_equal(before[::3], after[::3]), "row 0 is of fold 0, which is judged by the others"
    assert not np.array_equal(before[1::3], after[1::3])


def test_rows_without_a_label_are_judged_and_teach_nothing() -> None:
    rows, labels = blobs(2)
    known = out_of_fold_probabilities(rows, labels, np.arange(180) % 2, classes=3)
    given = np.concatenate([labels, [-1, -1]])
    more = np.concatenate([rows, rows[:2]])
    said = out_of_fold_probabilities(more, given, np.concatenate([np.arange(180) % 2, [0, 1]]), classes=3)
    assert np.allclose(said[:180], known, atol=1e-5)
    assert np.allclose(said[180:], known[:2], atol=1e-5)


def test_what_another_box_covers_is_no_reason_for_doubt() -> None:
    # A chair that a person covers by half, the person, and a chair alone; the classes are chair, person and dog.
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [20, 0, 30, 10]])
    truth = true_boxes(1, np.zeros(3, np.int64), boxes, np.array([0, 1, 0]))
    said = np.array([[0.2, 0.6, 0.2], [0.1, 0.8, 0.1], [0.2, 0.6, 0.2]], np.float32)
    left = without_neighbours(said, truth)
    assert left[0].tolist() == pytest.approx([0.2 / 0.55, 0.15 / 0.55, 0.2 / 0.55])  # 0.6 x 0.5 x 0.5
    assert left[1].tolist() == pytest.approx([0.0, 0.8 / 0.9, 0.1 / 0.9], abs=1e-6)  # the chair covers all of it
    assert left[2].tolist() == pytest.approx(said[2].tolist())
