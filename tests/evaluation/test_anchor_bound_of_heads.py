"""The anchor bound of several heads."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnv2dense.data.datasets import CocoDetection, JointDataset
from mnv2dense.data.shapes import draw_shapes
from mnv2dense.evaluation.anchor_bound import anchor_bound
from mnv2dense.models.dense_model import DenseModel
from tests.helpers.joint import alone, joint_model


def test_of_several_heads_the_lowest_bound_counts(tmp_path: Path) -> None:
    large = CocoDetection(root=draw_shapes(tmp_path / "large", train=1, val=3, size=64), split="val")
    small = CocoDetection(root=draw_shapes(tmp_path / "small", train=1, val=3, size=480), split="val")
    model = joint_model(cars=True)
    single: DenseModel = alone(model, "boxes")
    bounds = [anchor_bound(single, data) for data in (large, small)]
    assert None not in bounds
    for parts, wanted in (
        ({"boxes": large, "cars": small}, min(bounds)),  # type: ignore[type-var]
        ({"boxes": large}, bounds[0]),
        ({"cars": small}, bounds[1]),
    ):
        assert anchor_bound(model, JointDataset(parts=parts)) == pytest.approx(wanted)
