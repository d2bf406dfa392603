"""AP with weights of images: ones give pycocotools' numbers, whole weights those of images that are there as often."""

from __future__ import annotations

import numpy as np
import pytest

from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.metrics.box_hits import MOST_BOXES
from mnv2dense.metrics.box_matches import box_matches
from mnv2dense.metrics.coco_backends import BACKENDS
from mnv2dense.metrics.weighted_ap import WeightedAP
from mnv2dense.types import BoxColumns
from tests.metrics.test_coco_backends import columns

AREAS = {"AP": 0, "APs": 1, "APm": 2, "APl": 3}


def weighted(found: FoundBoxes, truth: TrueBoxes, classes: int) -> WeightedAP:
    names = [str(label) for label in range(classes)]
    return WeightedAP(box_matches(found, truth), image_ids=truth.image_ids.tolist(), class_names=names)


def by_library(found: FoundBoxes, truth: TrueBoxes, classes: int, *, backend: str) -> dict[str, float]:
    """The same scores out of a library's tables; NaN for their -1."""
    precision = BACKENDS[backend](found, truth, classes).precision[..., 2]  # [T, R, K, A]
    precision = np.where(precision < 0, np.nan, precision)

    def mean(table: np.ndarray) -> float:
        return float("nan") if np.isnan(table).all() else float(np.nanmean(table))

    scores = {name: mean(precision[..., area]) for name, area in AREAS.items()}
    scores |= {"AP50": mean(precision[0, ..., 0]), "AP75": mean(precision[5, ..., 0])}
    per_class = {f"AP/{k}": mean(precision[:, :, k, 0]) for k in range(classes)}
    return scores | {name: value for name, value in per_class.items() if not np.isnan(value)}


def repeated(found: FoundBoxes, truth: TrueBoxes, weights: np.ndarray) -> tuple[FoundBoxes, TrueBoxes]:
    """The data set in which each image is there as often as its weight says."""
    copies = np.repeat(np.arange(len(weights)), weights)
    boxes = [np.flatnonzero(found.images == image) for image in copies]
    things = [np.flatnonzero(truth.images == image) for image in copies]
    own = np.concatenate([*boxes, np.zeros(0, np.int64)])
    theirs = np.concatenate([*things, np.zeros(0, np.int64)])
    places = np.repeat(np.arange(len(copies)), [len(rows) for rows in boxes])
    columns_ = BoxColumns(
        np.arange(len(copies)),
        np.repeat(np.arange(len(copies)), [len(rows) for rows in things]),
        truth.boxes[theirs],
        truth.labels[theirs],
        truth.crowds[theirs],
        truth.areas[theirs],
    )
    return FoundBoxes(places, found.boxes[own], found.labels[own], found.scores[own]), TrueBoxes.of_columns(columns_)


def differ(ours: dict[str, float], theirs: dict[str, float]) -> bool:
    same = {name: np.isclose(ours[name], value, rtol=0, atol=1e-12, equal_nan=True) for name, value in theirs.items()}
    return ours.keys() != theirs.keys() or not all(same.values())


def test_weights_of_one_give_the_scores_of_pycocotools() -> None:
    wrong = []
    for seed in range(0, 300, 4):
        given = columns(seed)
        ours = weighted(*given).scores(np.ones((1, len(given[1].image_ids)), np.int32))
        backend = "pycocotools" if seed % 20 == 0 else "faster_coco_eval"  # the one is the other, and quicker
        if differ({name: float(value[0]) for name, value in ours.items()}, by_library(*given, backend=backend)):
            wrong.append(seed)
    assert wrong == []


def test_an_image_of_weight_two_is_there_twice_and_one_of_weight_nought_is_not() -> None:
    random = np.random.default_rng(0)
    wrong = []
    for seed in range(1, 300, 10):
        found, truth, classes = columns(seed)
        # Of equal scores within an image the order would be another in its copy.
        found = found._replace(scores=random.permutation(len(found.scores)) / 1000)
        weights = random.integers(0, 4, (3, len(truth.image_ids)))
        ours = weighted(found, truth, classes).scores(weights)
        for k, row in enumerate(weights):
            of_row = {name: float(values[k]) for name, values in ours.items()}
            theirs = by_library(*repeated(found, truth, row), classes, backend="faster_coco_eval")
            # A class that a draw leaves out has no key there, and NaN here.
            if differ(of_row, dict.fromkeys(of_row, float("nan")) | theirs):
                wrong.append((seed, k))
    assert wrong == []


def test_the_surest_box_takes_the_object_and_a_second_one_is_wrong() -> None:
    truth = TrueBoxes.of_columns(
        BoxColumns(
            np.array([0]),
            np.array([0]),
            np.array([[0.0, 0, 10, 10]]),
            np.array([0]),
            np.array([False]),
            np.array([100.0]),
        )
    )
    boxes = np.array([[0.0, 0, 10, 6], [0, 0, 10, 10]])  # IoU 0.6 and 1
    found = FoundBoxes(np.array([0, 0]), boxes, np.array([0, 0]), np.array([0.9, 0.8]))
    matches = box_matches(found, truth)
    # At 0.5, 0.55 and 0.6 the first finds it; above, the second does, behind one that is wrong.
    assert matches.right[0].tolist() == [[True, False]] * 3 + [[False, True]] * 7
    scores = weighted(found, truth, 1).scores(np.array([[1], [0]]))
    assert scores["AP"][0] == pytest.approx((3 * 1 + 7 * 0.5) / 10)
    assert np.isnan(scores["AP"][1])
    assert weighted(found, truth, 1).images_of_classes() == {"AP/0": 1}


def test_of_more_than_a_hundred_boxes_of_a_class_the_surest_count() -> None:
    count = MOST_BOXES + 5
    found = FoundBoxes(
        np.zeros(count, np.int64),
        np.tile([0.0, 0, 4, 4], (count, 1)),
        np.zeros(count, np.int64),
        np.linspace(0.1, 0.9, count),
    )
    none, nobody = np.zeros(0, np.int64), np.zeros(0)
    columns_ = BoxColumns(np.array([7]), none, np.zeros((0, 4)), none, np.zeros(0, np.bool_), nobody)
    matches = box_matches(found, TrueBoxes.of_columns(columns_))
    assert len(matches.labels) == MOST_BOXES
    assert not matches.right.any()
    assert matches.counted[0].all()
