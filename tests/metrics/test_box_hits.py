from __future__ import annotations

import numpy as np
import pytest

from mnv2dense.metrics import box_hits
from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.metrics.box_hits import hits
from mnv2dense.ops.numpy_boxes import areas, pairwise_intersection, pairwise_iou
from tests.helpers.box_columns import found_boxes, true_boxes
from tests.metrics.test_coco_backends import columns


def one_by_one(found: FoundBoxes, truth: TrueBoxes, least_iou: float) -> tuple[list[float], list[bool]]:
    """The same as a loop over boxes."""
    ious, ignored = [0.0] * len(found.labels), [False] * len(found.labels)
    free = ~truth.crowds
    for row in np.argsort(-found.scores, kind="stable").tolist():
        own = (truth.images == found.images[row]) & (truth.labels == found.labels[row])
        box = found.boxes[row : row + 1]
        overlaps = np.where(own & free, pairwise_iou(box, truth.corners)[0], 0)
        if len(overlaps) and overlaps.max() >= least_iou:
            ious[row], free[overlaps.argmax()] = float(overlaps.max()), False
        else:
            shared = pairwise_intersection(box, truth.corners)[0]
            within = (shared > 0) & (shared >= 0.5 * areas(box))
            ignored[row] = bool((within & own & truth.crowds).any())
    return ious, ignored


@pytest.mark.parametrize("pairs", [1_000_000, 5])
@pytest.mark.parametrize("least_iou", [0.1, 0.5])
def test_all_images_at_once_and_in_portions_are_as_one_box_after_the_other(
    monkeypatch: pytest.MonkeyPatch, pairs: int, least_iou: float
) -> None:
    monkeypatch.setattr(box_hits, "_PAIRS", pairs)
    for seed in range(1, 60, 3):
        found, truth, _ = columns(seed)
        went = hits(found, truth, least_iou=least_iou)
        assert (went.ious.tolist(), went.ignored.tolist()) == one_by_one(found, truth, least_iou), seed


def test_a_box_whose_object_is_taken_finds_the_next_best() -> None:
    truth = true_boxes([(0, 0, 10, 10, 0, False), (0, 0, 10, 8, 0, False)])
    went = hits(found_boxes([(0, 0, 10, 10, 0.5, 0), (0, 0, 10, 10, 0.9, 0)]), truth, least_iou=0.5)
    assert went.ious.tolist() == [0.8, 1.0]


def test_images_are_kept_apart_and_so_are_classes() -> None:
    truth = true_boxes([], [(0, 0, 10, 10, 1, False)])
    went = hits(
        found_boxes([(0, 0, 10, 10, 0.9, 1)], [(0, 0, 10, 10, 0.9, 0), (0, 0, 10, 10, 0.2, 1)]), truth, least_iou=0.5
    )
    assert went.ious.tolist() == [0.0, 0.0, 1.0]
