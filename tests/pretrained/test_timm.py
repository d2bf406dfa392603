from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mnv2dense import load_model, mobilenet_v2, mobilenet_v2_classifier
from mnv2dense.backbones.layout import FEATURE_NAMES
from tests.helpers.peers import SIZES, differences, randomised, relative_difference

pytestmark = pytest.mark.filterwarnings("ignore")  # the peer's own

PLACES = {
    "stride2": "blocks.0",
    "stride4": "blocks.1",
    "stride8": "blocks.2",
    "stride16": "blocks.4",
    "stride16_expanded": "blocks.5.0.bn1",
    "last_bottleneck": "blocks.6",
    "last_conv": "bn2",
}


@pytest.fixture(scope="module")
def timm() -> ModuleType:
    return pytest.importorskip("timm")


def peer(timm: ModuleType, name: str, **options: object) -> nn.Module:
    return randomised(timm.create_model(name, **{"num_classes": 7, **options}))


# Name, (width, depth, whether the ends are scaled), blocks.
VARIANTS = [
    ("mobilenetv2_050", (0.5, 1.0, True), 17),
    ("mobilenetv2_100", (1.0, 1.0, True), 17),
    ("mobilenetv2_110d", (1.1, 1.2, False), 22),
    ("mobilenetv2_120d", (1.2, 1.4, False), 26),
    ("mobilenetv2_140", (1.4, 1.0, True), 17),
]


@pytest.mark.parametrize(("name", "shape", "blocks"), VARIANTS)
@pytest.mark.parametrize("size", SIZES)
def test_every_feature_and_the_logits_are_timms(
    timm: ModuleType,
    tmp_path: Path,
    name: str,
    shape: tuple[float, float, bool],
    blocks: int,
    size: tuple[int, int],
) -> None:
    theirs = peer(timm, name)
    torch.save(theirs.state_dict(), tmp_path / f"{name}.pth")
    ours = mobilenet_v2(weights=tmp_path / f"{name}.pth", features=FEATURE_NAMES)
    assert (ours.config["width_mult"], ours.config["depth_mult"], ours.config["scale_ends"]) == shape
    assert len(ours.blocks) == blocks
    images = torch.randn(2, 3, *size)
    assert max(differences(ours, theirs, PLACES, images).values()) < 1e-4
    classifier = mobilenet_v2_classifier(weights=tmp_path / f"{name}.pth")
    with torch.no_grad():
        logits = classifier.head(classifier.backbone(images), size)
        assert relative_difference(logits, theirs(images)) < 1e-4


@pytest.mark.parametrize("safe", [True, False])
def test_a_folder_of_the_hub_brings_normalisation_size_and_names(timm: ModuleType, tmp_path: Path, safe: bool) -> None:
    from timm.models import save_for_hf

    theirs = peer(timm, "mobilenetv2_035", num_classes=2)
    theirs.pretrained_cfg.update({"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_size": [3, 160, 192]})
    save_for_hf(theirs, tmp_path, model_config={"label_names": ["cat", "dog"]}, safe_serialization=safe)
    model = load_model(tmp_path)
    assert model.backbone.mean == (0.1, 0.2, 0.3)
    assert model.backbone.std == (0.4, 0.5, 0.6)
    assert model.size == (160, 192)
    assert model.class_names == ("cat", "dog")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert relative_difference(model.head(model.backbone(images), (64, 64)), theirs(images)) < 1e-4


def test_a_config_of_before_pretrained_cfg_is_read(timm: ModuleType, tmp_path: Path) -> None:
    save_file(peer(timm, "mobilenetv2_035").state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": "mobilenetv2_035", "mean": [0.1, 0.2, 0.3], "input_size": [3, 224, 224]})
    )
    model = mobilenet_v2(weights=tmp_path)
    assert model.mean == (0.1, 0.2, 0.3)
    assert model.std == (0.229, 0.224, 0.225)


def test_a_network_that_shares_timms_names_is_refused(timm: ModuleType, tmp_path: Path) -> None:
    torch.save(timm.create_model("mobilenetv3_small_050").state_dict(), tmp_path / "v3.pth")
    with pytest.raises(ValueError, match=r"v3.pth: .*MobileNetV2"):
        mobilenet_v2(weights=tmp_path / "v3.pth")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "mobilenetv3_small_050"}))
    with pytest.raises(ValueError, match=r"config.json is of 'mobilenetv3_small_050', not of a MobileNetV2"):
        mobilenet_v2(weights=tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pretrained_cfg": "none"}, "pretrained_cfg='none', which must be a table of entries"),
        ({"pretrained_cfg": {"std": [0, 1, 1]}}, r"std=\[0, 1, 1\], which must be three numbers above 0"),
        ({"pretrained_cfg": {"mean": 0.5}}, "mean=0.5, which must be three numbers"),
        ({"pretrained_cfg": {"input_size": [224]}}, r"input_size=\[224\], which must be three whole numbers"),
        ({"input_size": [3, 10**6, 10**6]}, "input_size=.* at most 16384"),
    ],
)
def test_an_entry_that_is_off_is_named(tmp_path: Path, config: dict[str, object], message: str) -> None:
    timm = pytest.importorskip("timm")
    save_file(timm.create_model("mobilenetv2_035").state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "mobilenetv2_035", **config}))
    with pytest.raises(ValueError, match=rf"model\.safetensors: its config\.json has {message}"):
        load_model(tmp_path)
