"""All pairs of boxes of the same image that overlap."""

from __future__ import annotations

import numpy as np
import pytest

from mnv2dense.doctor.overlaps import overlapping
from mnv2dense.ops.numpy_boxes import pairwise_iou


def test_pairs_are_those_of_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for together in (1, 7, 10_000):
        monkeypatch.setattr("mnv2dense.doctor.overlaps._TOGETHER", together)
        low = rng.uniform(0, 20, (2, 30, 2))
        first, second = np.concatenate([low, low + rng.uniform(1, 20, low.shape)], axis=2)
        images, others = rng.integers(0, 5, 30), np.sort(rng.integers(0, 5, 30))
        pairs = overlapping((images, first), (others, second), at_least=0.2)
        table = (pairwise_iou(first, second) >= 0.2) & (images[:, None] == others)
        assert sorted(np.column_stack(pairs[:2]).tolist()) == np.argwhere(table).tolist()
        assert np.array_equal(pairs.iou, pairwise_iou(first, second)[pairs.first, pairs.second])
