"""The small model that comes with the package."""

from __future__ import annotations

import pytest

import mnv2dense
from mnv2dense.data.shapes.detection import Shapes
from mnv2dense.pretrained.named import SHIPPED

pytestmark = pytest.mark.usefixtures("place")


def test_it_finds_the_shapes_it_was_trained_on() -> None:
    predictor = mnv2dense.Predictor("shapes", threshold=0.4, device="cpu")
    data = Shapes(split="val", train_images=1, val_images=8)
    for number in range(len(data)):
        sample = data[number]
        found = predictor(sample.image)
        assert sample.labels is not None
        true = [data.class_names[label] for label in sample.labels]
        assert len(set(found.names) & set(true)) >= len(set(true)) / 2, (true, found.names)


def test_its_backbone_begins_another_model() -> None:
    backbone = mnv2dense.mobilenet_v2(weights="shapes", output_stride=16)
    assert backbone.config["width_mult"] == 0.35


def test_it_is_small_enough_to_ship() -> None:
    (file,) = SHIPPED["shapes"].glob("*.safetensors")
    assert file.stat().st_size < 5_000_000


def test_it_has_no_revisions() -> None:
    with pytest.raises(ValueError, match="revision"):
        mnv2dense.from_pretrained("shapes", revision="main")
