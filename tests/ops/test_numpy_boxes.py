from __future__ import annotations

import numpy as np
import torch

from mnv2dense.ops import boxes, numpy_boxes


def test_overlaps_are_those_of_the_tensors() -> None:
    rng = np.random.default_rng(0)
    low = rng.integers(0, 40, (2, 30, 2))
    first, second = np.concatenate([low, low + rng.integers(0, 30, (2, 30, 2))], axis=2)  # some without area
    for name in ("pairwise_iou", "pairwise_intersection"):
        expected = getattr(boxes, name)(torch.from_numpy(first).double(), torch.from_numpy(second).double())
        np.testing.assert_allclose(getattr(numpy_boxes, name)(first, second), expected.numpy(), rtol=1e-12)
    np.testing.assert_array_equal(numpy_boxes.areas(first), boxes.area(torch.from_numpy(first)).numpy())


def test_no_boxes_have_no_overlaps() -> None:
    none, one = np.zeros((0, 4)), np.array([[0.0, 0.0, 2.0, 2.0]])
    assert numpy_boxes.pairwise_iou(none, one).shape == (0, 1)
    assert numpy_boxes.pairwise_iou(one, none).shape == (1, 0)
