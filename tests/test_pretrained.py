from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from mnv2dense.backbones import mobilenet_v2


@pytest.mark.parametrize(
    ("folder", "output_stride"), [("mobilenet_v2_1.0_224", 32), ("deeplabv3_mobilenet_v2_1.0_513", 16)]
)
@pytest.mark.parametrize("size", [(224, 224), (193, 257)])
@pytest.mark.filterwarnings("ignore")  # the peer's own
def test_hugging_face_weights_give_the_peers_features(
    shared: Path, folder: str, output_stride: int, size: tuple[int, int]
) -> None:
    transformers = pytest.importorskip("transformers")
    path = shared / "weights" / folder
    ours = mobilenet_v2(weights=path, output_stride=output_stride).eval()
    theirs = transformers.MobileNetV2Model.from_pretrained(path).eval()
    images = torch.rand(2, 3, *size) * 2 - 1
    with torch.no_grad():
        expected = theirs(images).last_hidden_state
        difference = (ours(images)["last_conv"] - expected).abs().max() / expected.abs().max()
    assert difference < 1e-5


def test_what_belongs_to_the_weights_comes_with_them(shared: Path) -> None:
    model = mobilenet_v2(weights=shared / "weights" / "mobilenet_v2_1.0_224")
    assert model.config["padding"] == "tf"
    assert model.config["norm_eps"] == 1e-3
    assert model.mean == model.std == (0.5, 0.5, 0.5)
    faster = mobilenet_v2(weights=shared / "weights/mobilenet_v2_1.0_224", norm_momentum=0.05)
    assert faster.config["norm_momentum"] == 0.05


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"weights='nowhere': no such folder .*config.json"):
        mobilenet_v2(weights="nowhere")


def test_a_folder_without_tensors_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"model.safetensors is missing"):
        mobilenet_v2(weights=tmp_path)


def test_another_width_is_refused_with_the_fix(shared: Path) -> None:
    with pytest.raises(ValueError, match=r"have width_mult=1.0, the model asks for 0.5. Set backbone.width_mult=1.0"):
        mobilenet_v2(weights=shared / "weights/mobilenet_v2_1.0_224", width_mult=0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "resnet"}, "model_type is 'resnet'"),
        ({"finegrained_output": False}, "finegrained_output=False, but the paper's MobileNetV2 has True"),
    ],
)
def test_another_architecture_is_refused(shared: Path, tmp_path: Path, change: dict[str, object], message: str) -> None:
    source = shared / "weights" / "mobilenet_v2_1.0_224"
    config = json.loads((source / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    shutil.copy(source / "model.safetensors", tmp_path)
    with pytest.raises(ValueError, match=message):
        mobilenet_v2(weights=tmp_path)


def test_a_file_cut_short_is_named(shared: Path, tmp_path: Path) -> None:
    source = shared / "weights" / "mobilenet_v2_1.0_224"
    shutil.copy(source / "config.json", tmp_path)
    (tmp_path / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"model.safetensors cannot be read .*cut short"):
        mobilenet_v2(weights=tmp_path)
