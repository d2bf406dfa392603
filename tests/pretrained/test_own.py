from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mnv2dense import mobilenet_v2, mobilenet_v2_classifier, save_model
from mnv2dense.models.convert import save_safetensors
from mnv2dense.pretrained import read_pretrained
from mnv2dense.pretrained.checkpoint_file import CheckpointError
from tests.helpers.tiny import tiny_model


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "runs/one/checkpoints/best.ckpt"])
def test_a_detectors_checkpoint_is_a_backbone_for_another_head(tmp_path: Path, name: str) -> None:
    detector = tiny_model()
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    save_model(detector, tmp_path / name)
    weights = tmp_path / "runs/one" if name.startswith("runs") else tmp_path / name
    model = mobilenet_v2_classifier(2, weights_backbone=weights)
    for key, tensor in detector.backbone.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[key], tensor)


def test_options_come_with_the_weights_but_not_the_output_stride(tmp_path: Path) -> None:
    backbone = mobilenet_v2(width_mult=0.35, depth_mult=1.2, shortcut="none", padding="tf", output_stride=16)
    save_safetensors(backbone, tmp_path / "backbone.safetensors")
    config = mobilenet_v2(weights=tmp_path / "backbone.safetensors").config
    assert config == backbone.config | {"output_stride": 32}


def test_a_backbone_too_short_for_the_head_is_named(tmp_path: Path) -> None:
    save_safetensors(mobilenet_v2(width_mult=0.35, features=("stride16",)), tmp_path / "short.safetensors")
    with pytest.raises(ValueError, match=r"short.safetensors: .* tensors of the backbone are missing"):
        mobilenet_v2(weights=tmp_path / "short.safetensors")


def test_our_tensors_without_their_config_are_refused(tmp_path: Path) -> None:
    tensors = mobilenet_v2(width_mult=0.35).state_dict()
    torch.save(tensors, tmp_path / "bare.pth")
    save_file(tensors, tmp_path / "bare.safetensors")
    for name in ("bare.pth", "bare.safetensors"):
        with pytest.raises(CheckpointError, match=rf"{name} has tensors named as ours.*save_safetensors"):
            read_pretrained(tmp_path / name)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{", "cannot be read"),
        (json.dumps({"format": 1}), "cannot be read"),
        (json.dumps({"format": 99, "config": {}}), "has format 99, this version reads 1"),
        (json.dumps({"format": 1, "config": {"backbone": {"_target_": "os.system"}}}), "os.system, not a MobileNetV2"),
    ],
)
def test_metadata_that_is_off_is_refused(tmp_path: Path, entry: str, message: str) -> None:
    path = tmp_path / "off.safetensors"
    save_file(mobilenet_v2(width_mult=0.35).state_dict(), path, metadata={"mnv2dense": entry})
    with pytest.raises(CheckpointError, match=message):
        read_pretrained(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": "secret.pth"}, "its backbone has no option 'weights'"),
        ({"features": ["stride2"]}, "its backbone has no option 'features'"),
        ({"_target_": "mnv2dense.models.mobilenet_v2"}, "mobilenet_v2, not a MobileNetV2"),
        ({"width_mult": "abc"}, "width_mult='abc' must be a number"),
        ({"width_mult": 1e9}, "width_mult=1000000000.0 must be positive, and at most 16"),
        ({"width_mult": 16}, r"is \[\d+, .*\] in the file and \[\d+, .*\] in the model"),
    ],
)
def test_a_backbones_config_that_is_off_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    backbone = mobilenet_v2(width_mult=0.35)
    backbone.config |= change
    save_safetensors(backbone, tmp_path / "off.safetensors")
    with pytest.raises(ValueError, match=rf"off\.safetensors: .*{message}"):
        mobilenet_v2(weights=tmp_path / "off.safetensors")
