"""Planted faults in real data: floors under the figures that benchmarks/planted_faults.py measures."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import cast

import cv2
import numpy as np
import pytest
import torch

from benchmarks.planting import CAMVID, among_surest, gone_among, masks_among, planted_boxes, planted_masks, views_of
from mnv2dense.data.datasets import CocoDetection, MaskFolder, VocDetection
from mnv2dense.doctor.box_shifts import out_of_fold_shifts
from mnv2dense.doctor.box_views import ViewFeatures
from mnv2dense.doctor.class_context import with_context
from mnv2dense.doctor.crops import CropFeatures
from mnv2dense.doctor.doubled_boxes import doubled_boxes
from mnv2dense.doctor.folds import folds
from mnv2dense.doctor.frozen import boxes_of, frozen_features, true_boxes
from mnv2dense.doctor.held_out import Schedule, out_of_fold_boxes, out_of_fold_pixels
from mnv2dense.doctor.linear_probe import out_of_fold_probabilities
from mnv2dense.doctor.neighbours import without_neighbours
from mnv2dense.doctor.wrong_classes import doubt_classes
from mnv2dense.doctor.wrong_masks import shift_of
from mnv2dense.metrics.box_columns import TrueBoxes
from mnv2dense.models import mobilenet_v2
from mnv2dense.protocols import Dataset
from mnv2dense.types import IGNORE_LABEL, Sample


def seen(data: Dataset, weights: Path, *, size_px: int) -> tuple[np.ndarray, TrueBoxes]:
    """Features of the objects of a few images, and their boxes."""
    backbone = mobilenet_v2(features=("stride16", "last_conv"), weights=weights).eval()
    look, rows, samples = CropFeatures(backbone, size_px=size_px), [], []
    for sample in (data[index] for index in range(len(data))):
        assert sample.boxes is not None
        assert sample.labels is not None
        kept = sample.labels != IGNORE_LABEL
        samples.append(sample._replace(boxes=sample.boxes[kept], labels=sample.labels[kept]))
        rows.append(look(sample.image, sample.boxes[kept]))
    return np.concatenate(rows), boxes_of(samples)


def found_of_planted(features: np.ndarray, truth: TrueBoxes, *, classes: int, plantings: int = 1) -> float:
    """5% of the labels become another that there is; of as many surest suspects, the share that are these; a mean."""
    shares, there = [], np.unique(truth.labels)
    for seed in range(plantings):
        rng, given = np.random.default_rng(seed), truth.labels.copy()
        rows = rng.choice(len(features), len(features) // 20, replace=False)
        given[rows] = [rng.choice(there[there != label]) for label in given[rows]]
        fold_of = folds(len(truth.image_ids), 10)[truth.images]
        said = out_of_fold_probabilities(features, given, fold_of, classes=classes)
        planted = truth._replace(labels=given)
        doubts = doubt_classes(given, with_context(without_neighbours(said, planted), planted))
        shares.append(among_surest(doubts.scores, np.isin(np.arange(len(given)), rows)) / len(rows))
    return fmean(shares)


@pytest.mark.slow
def test_wrong_classes_of_blood_cells_are_found(shared: Path) -> None:
    weights = shared / "weights/mobilenet_v2_1.0_224"
    data = VocDetection(root=shared / "data/bccd", split="train", limit=30)
    features, truth = seen(data, weights, size_px=64)
    assert found_of_planted(features, truth, classes=3) >= 0.8


@pytest.mark.slow
def test_wrong_classes_of_voc_are_found(shared: Path) -> None:
    weights = shared / "weights/mobilenet_v2_1.0_224"
    data = VocDetection(root=shared / "data/VOCdevkit", split="train")
    features, truth = seen(data, weights, size_px=128)
    assert found_of_planted(features, truth, classes=20) >= 0.75


@pytest.mark.slow
def test_wrong_classes_of_coco_are_found_by_what_else_an_image_shows(shared: Path) -> None:
    weights = shared / "weights/mobilenet_v2_1.0_224"
    data = CocoDetection(root=shared / "data/coco_mini", split="train2017")
    features, truth = seen(data, weights, size_px=128)
    assert found_of_planted(features, truth, classes=80, plantings=3) >= 0.7


@pytest.mark.slow
def test_images_in_the_wrong_folder_are_found(shared: Path) -> None:
    data = VocDetection(root=shared / "data/VOCdevkit", split="train")
    backbone = mobilenet_v2(features=("stride16", "last_conv"), weights=shared / "weights/mobilenet_v2_1.0_224")
    look, rows, labels = CropFeatures(backbone.eval(), size_px=224, context=1.0), [], []
    for sample in (data[index] for index in range(len(data))):
        assert sample.labels is not None
        shown = np.unique(sample.labels[sample.labels >= 0])
        if len(shown) == 1:
            height, width = sample.image.shape[:2]
            rows.append(look(sample.image, np.array([[0, 0, width, height]], np.float32)))
            labels.append(int(shown[0]))
    every = np.arange(len(labels))
    whole = true_boxes(len(labels), every, np.tile([0.0, 0, 1, 1], (len(labels), 1)), np.array(labels))
    assert found_of_planted(np.concatenate(rows), whole, classes=20, plantings=3) >= 0.6


def moved_found(data: Dataset, weights: Path) -> float:
    """5% of the boxes move; of as many surest suspects, the share that are these."""
    truth = boxes_of([data[index] for index in range(len(data))])
    planted, _, marks = planted_boxes(truth, np.random.default_rng(0))
    look = ViewFeatures(mobilenet_v2(features=("stride16",), weights=weights).eval())
    views = views_of((data[index] for index in range(len(data))), planted, look)
    shifts = out_of_fold_shifts(views, planted, folds(len(data), 3))
    return among_surest(shifts.scores, marks == 1) / int((marks == 1).sum())


@pytest.mark.slow
def test_shifted_boxes_of_blood_cells_are_found(shared: Path) -> None:
    data = VocDetection(root=shared / "data/bccd", split="train", limit=48)
    assert moved_found(data, shared / "weights/mobilenet_v2_1.0_224") >= 0.5, "by chance 0.05"


@pytest.mark.slow
def test_shifted_boxes_of_coco_are_found_also_where_objects_are_small(shared: Path) -> None:
    data = CocoDetection(root=shared / "data/coco_mini", split="train2017", limit=150)
    assert moved_found(data, shared / "weights/mobilenet_v2_1.0_224") >= 0.2, "by chance 0.05"


@pytest.mark.slow
def test_missing_boxes_of_blood_cells_are_found(shared: Path) -> None:
    data = VocDetection(root=shared / "data/bccd", split="train", limit=48)
    backbone = mobilenet_v2(
        features=("stride8", "stride16", "last_bottleneck"), weights=shared / "weights/mobilenet_v2_1.0_224"
    )
    samples: list[Sample] = []
    frozen = frozen_features(backbone.eval(), data, size=(224, 224), look=lambda place, sample: samples.append(sample))
    truth = boxes_of(samples)
    planted, gone, _ = planted_boxes(truth, np.random.default_rng(0))
    found = out_of_fold_boxes(frozen, planted, folds(len(samples), 3), schedule=Schedule(8, 4, 0.003))
    assert gone_among(found, planted, truth, gone) / len(gone) >= 0.2


@pytest.mark.slow
def test_regions_of_streets_that_are_wrong_or_missing_are_found(shared: Path) -> None:
    data = MaskFolder(root=shared / "data/camvid", split="train", class_names=CAMVID, ignored=[11])
    some = torch.utils.data.Subset(data, range(0, len(data), 4))
    backbone = mobilenet_v2(
        features=("stride8", "last_bottleneck"), output_stride=16, weights=shared / "weights/mobilenet_v2_1.0_224"
    )
    masks: list[np.ndarray] = []
    frozen = frozen_features(
        backbone.eval(), cast(Dataset, some), size=(180, 240), look=lambda _, sample: masks.append(sample.mask)
    )
    given, moved, wrong, gone = planted_masks(masks, np.random.default_rng(0))
    cells = frozen.maps["stride8"].shape[:1:-1]
    grid = np.stack([cv2.resize(mask, cells, interpolation=cv2.INTER_NEAREST) for mask in given])
    said = out_of_fold_pixels(frozen, torch.from_numpy(grid), folds(len(grid), 3), classes=len(CAMVID))
    found = masks_among(grid, said.float().numpy(), moved, wrong, gone, given[0].shape)
    shares = {kind: among / planted for kind, (planted, among) in found.items()}
    assert shares["wrong region"] >= 0.2, "by chance 0.05"
    assert shares["missing region"] >= 0.08, "by chance 0.02"


def test_shifted_masks_of_streets_are_found_by_a_model_that_is_right_in_nine_of_ten_cells(shared: Path) -> None:
    data = MaskFolder(root=shared / "data/camvid", split="train", class_names=CAMVID, ignored=[11], limit=120)
    clean = [mask for mask in (data[place].mask for place in range(0, 120, 2)) if mask is not None]
    given, moved, _, _ = planted_masks(clean, np.random.default_rng(0), share=0.15)
    grid, right = (
        np.stack([cv2.resize(mask, (60, 45), interpolation=cv2.INTER_NEAREST) for mask in masks])
        for masks in (given, clean)
    )
    rng = np.random.default_rng(0)
    said = np.stack([blurred_belief(mask, rng) for mask in right])
    assert (said.argmax(axis=1) == right)[right != 255].mean() < 0.95
    shifts = [shift_of(mask, one).score for mask, one in zip(grid, said, strict=True)]
    assert np.isin(np.argsort(shifts)[-len(moved) :], moved).mean() >= 0.9


def blurred_belief(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Probabilities [11, h, w] of a model whose edges are soft and who takes whole patches for other classes."""
    soft = np.stack([cv2.GaussianBlur((mask == k).astype(np.float32), (0, 0), 1.5) for k in range(11)]) + 1e-3
    moods = rng.gamma(1.0, 0.4, (11, mask.shape[0] // 5 + 1, mask.shape[1] // 5 + 1)).astype(np.float32)
    believed = soft * np.stack([cv2.resize(mood, mask.shape[::-1]) for mood in moods])
    return np.asarray(0.8 * believed / believed.sum(axis=0) + 0.2 / 11, np.float32)


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
