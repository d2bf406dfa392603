"""Planted faults in real data: floors under the figures that benchmarks/planted_faults.py measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mnv2dense.data.datasets import VocDetection
from mnv2dense.doctor.crops import CropFeatures
from mnv2dense.doctor.doubled_boxes import doubled_boxes
from mnv2dense.doctor.folds import folds
from mnv2dense.doctor.frozen import boxes_of, true_boxes
from mnv2dense.doctor.linear_probe import out_of_fold_probabilities
from mnv2dense.doctor.neighbours import without_neighbours
from mnv2dense.doctor.wrong_classes import doubt_classes
from mnv2dense.metrics.box_columns import TrueBoxes
from mnv2dense.models import mobilenet_v2
from mnv2dense.types import IGNORE_LABEL


def seen(root: Path, weights: Path, *, limit: int, size_px: int) -> tuple[np.ndarray, TrueBoxes]:
    """Features of the objects of a few images, and their boxes."""
    backbone = mobilenet_v2(features=("stride16", "last_conv"), weights=weights).eval()
    look, rows, samples = CropFeatures(backbone, size_px=size_px), [], []
    data = VocDetection(root=root, split="train", limit=limit)
    for sample in (data[index] for index in range(len(data))):
        assert sample.boxes is not None
        assert sample.labels is not None
        kept = sample.labels != IGNORE_LABEL
        samples.append(sample._replace(boxes=sample.boxes[kept], labels=sample.labels[kept]))
        rows.append(look(sample.image, sample.boxes[kept]))
    return np.concatenate(rows), boxes_of(samples)


def found_of_planted(features: np.ndarray, truth: TrueBoxes, *, classes: int) -> float:
    """5% of the labels become another that there is; of as many surest suspects, the share that are these."""
    rng = np.random.default_rng(0)
    rows, given = rng.choice(len(features), len(features) // 20, replace=False), truth.labels.copy()
    there = np.unique(given)
    given[rows] = [rng.choice(there[there != label]) for label in given[rows]]
    fold_of = folds(len(truth.image_ids), 5)[truth.images]
    said = out_of_fold_probabilities(features, given, fold_of, classes=classes)
    doubts = doubt_classes(given, without_neighbours(said, truth._replace(labels=given)))
    return float(np.isin(np.argsort(-doubts.scores)[: len(rows)], rows).mean())


def test_wrong_classes_of_blood_cells_are_found(shared: Path) -> None:
    weights = shared / "weights/mobilenet_v2_1.0_224"
    features, truth = seen(shared / "data/bccd", weights, limit=30, size_px=64)
    assert found_of_planted(features, truth, classes=3) >= 0.8


@pytest.mark.slow
def test_wrong_classes_of_voc_are_found(shared: Path) -> None:
    weights = shared / "weights/mobilenet_v2_1.0_224"
    features, truth = seen(shared / "data/VOCdevkit", weights, limit=800, size_px=128)
    assert found_of_planted(features, truth, classes=20) >= 0.7


def test_doubled_boxes_of_blood_cells_are_found_and_so_are_real_ones(shared: Path) -> None:
    data = VocDetection(root=shared / "data/bccd", split="train")
    samples = [data[index] for index in range(len(data))]
    truth = boxes_of(samples)
    real = len(doubled_boxes(truth).rows)
    assert 0 < real < 10
    rng = np.random.default_rng(0)
    rows = rng.choice(len(truth.images), len(truth.images) // 20, replace=False)
    again = truth.corners[rows] + rng.uniform(-0.06, 0.06, (len(rows), 4)) * np.tile(truth.boxes[rows, 2:], 2)
    images, labels = (np.concatenate([column, column[rows]]) for column in (truth.images, truth.labels))
    planted = true_boxes(len(samples), images, np.concatenate([truth.corners, again]), labels)
    assert len(doubled_boxes(planted).rows) >= 0.98 * len(rows) + real
