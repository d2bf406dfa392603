"""What is to be expected in an image by what else is annotated there."""

from __future__ import annotations

import numpy as np
import pytest

from mnv2dense.doctor.class_context import expected_classes, with_context
from mnv2dense.doctor.frozen import true_boxes
from mnv2dense.metrics.box_columns import TrueBoxes


def labelled(*images: list[int]) -> TrueBoxes:
    """The labels of the objects of each image."""
    labels = np.array([label for image in images for label in image], np.int64)
    places = np.repeat(np.arange(len(images)), [len(image) for image in images])
    return true_boxes(len(images), places, np.tile([0.0, 0, 5, 5], (len(labels), 1)), labels)


def test_an_object_is_expected_to_be_like_the_others_of_its_image() -> None:
    truth = labelled([0, 0, 0, 1], [0, 0], [1, 1, 1])
    expected = expected_classes(truth, 2)
    assert np.allclose(expected.sum(axis=1), 1)
    assert expected[3, 0] > 0.7, "three of class 0 beside it"
    assert expected[6, 1] > 0.7


def test_its_own_label_says_nothing_of_an_object() -> None:
    first = expected_classes(labelled([2, 0, 0], [0, 1], [1, 2], [1]), 3)[0]
    second = expected_classes(labelled([1, 0, 0], [0, 1], [1, 2], [1]), 3)[0]
    assert first == pytest.approx(second, abs=1e-12)


def test_classes_that_stand_beside_those_of_the_image_elsewhere_are_expected_sooner() -> None:
    pairs = [[0, 1]] * 10 + [[2, 3]] * 10
    expected = expected_classes(labelled([0, 3], *pairs), 4)[1]
    assert expected[1] > 3 * expected[3]


def test_company_is_counted_as_in_a_plain_loop_over_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnv2dense.doctor.class_context._WORTH", (2.0,))
    rng = np.random.default_rng(0)
    for _ in range(20):
        images = [rng.integers(0, 4, rng.integers(0, 5)).tolist() for _ in range(6)]
        truth = labelled(*images)
        assert expected_classes(truth, 4) == pytest.approx(np.array(list(plain(images))).reshape(-1, 4), abs=1e-9)


def plain(images: list[list[int]]) -> list[np.ndarray]:
    rows = []
    for at, image in enumerate(images):
        elsewhere = [other for place, other in enumerate(images) if place != at]
        anywhere = np.array([sum(other.count(k) for other in elsewhere) + 1 for k in range(4)], float)
        anywhere /= anywhere.sum()
        for index in range(len(image)):
            others = image[:index] + image[index + 1 :]
            company = []
            for label in set(others):
                beside = 5 * anywhere
                for other in elsewhere:
                    if label in other:
                        beside = beside + np.array([k in other and k != label for k in range(4)])
                company.append(beside / (5 + (beside - 5 * anywhere).sum()))
            mixed = 0.95 * (np.mean(company, axis=0) if company else anywhere) + 0.05 * anywhere
            own = np.array([others.count(k) for k in range(4)])
            rows.append((own + 2 * mixed) / (len(others) + 2))
    return rows


def test_pixels_and_context_are_multiplied() -> None:
    truth = labelled([0, 0, 0, 1], [1, 1])
    pixels = np.full((6, 2), 0.5, np.float32)
    said = with_context(pixels, truth)
    assert np.allclose(said.sum(axis=1), 1)
    odds = expected_classes(truth, 2) / (np.array([4, 4]) / 8)
    assert said[3] == pytest.approx(odds[3] / odds[3].sum(), abs=1e-6)


def test_without_objects_there_is_nothing_to_expect() -> None:
    assert with_context(np.zeros((0, 3), np.float32), labelled([], [])).shape == (0, 3)
