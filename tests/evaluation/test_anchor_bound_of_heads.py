"""The anchor bounds of several heads."""

from __future__ import annotations

import json
from pathlib import Path

from mnv2dense.data.datasets import CocoDetection, JointDataset
from mnv2dense.data.shapes import draw_shapes
from mnv2dense.evaluation.anchor_bound import anchor_bounds
from mnv2dense.models.dense_model import DenseModel
from tests.helpers.joint import alone, joint_model


def test_of_several_heads_each_has_its_bound_by_name(tmp_path: Path) -> None:
    large = CocoDetection(root=draw_shapes(tmp_path / "large", train=1, val=3, size=64), split="val")
    root = draw_shapes(tmp_path / "small", train=1, val=3, size=64)
    (annotations,) = root.rglob("*_val.json")
    content = json.loads(annotations.read_text(encoding="utf-8"))
    content["annotations"][0] |= {"bbox": [1.0, 1.0, 2.0, 2.0], "area": 4.0}  # no anchor is as small
    annotations.write_text(json.dumps(content), encoding="utf-8")
    small = CocoDetection(root=root, split="val")
    model = joint_model(cars=True)
    single: DenseModel = alone(model, "boxes")
    (of_large,), (of_small,) = (anchor_bounds(single, data).values() for data in (large, small))
    assert of_small < of_large
    both = JointDataset(parts={"boxes": large, "cars": small})
    assert anchor_bounds(model, both) == {"boxes": of_large, "cars": of_small}
    assert anchor_bounds(model, JointDataset(parts={"cars": small})) == {"cars": of_small}
