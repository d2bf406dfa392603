from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from mnv2dense import mobilenet_v2, mobilenet_v2_classifier
from mnv2dense.backbones.layout import FEATURE_NAMES
from tests.helpers.peers import SIZES, differences, randomised, relative_difference

PLACES = {
    "stride2": "features.1",
    "stride4": "features.3",
    "stride8": "features.6",
    "stride16": "features.13",
    "stride16_expanded": "features.14.conv.0",
    "last_bottleneck": "features.17",
    "last_conv": "features.18",
}


def peer(width_mult: float = 1.0, num_classes: int = 7) -> nn.Module:
    return randomised(torchvision.models.mobilenet_v2(width_mult=width_mult, num_classes=num_classes))


@pytest.mark.parametrize("width_mult", [0.35, 0.5, 1.0, 1.4])
@pytest.mark.parametrize("size", SIZES)
def test_every_feature_and_the_logits_are_torchvisions(
    tmp_path: Path, width_mult: float, size: tuple[int, int]
) -> None:
    theirs = peer(width_mult)
    torch.save(theirs.state_dict(), tmp_path / "mobilenet_v2.pth")
    ours = mobilenet_v2(weights=tmp_path / "mobilenet_v2.pth", features=FEATURE_NAMES)
    images = torch.randn(2, 3, *size)
    assert max(differences(ours, theirs, PLACES, images).values()) < 1e-4
    classifier = mobilenet_v2_classifier(weights=tmp_path / "mobilenet_v2.pth")
    with torch.no_grad():
        logits = classifier.head(classifier.backbone(images), size)
        assert relative_difference(logits, theirs(images)) < 1e-4


def test_whole_images_are_normalised_as_torchvisions_own_transform_does(tmp_path: Path) -> None:
    theirs = peer()
    torch.save(theirs.state_dict(), tmp_path / "mobilenet_v2.pth")
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    transform = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.transforms(crop_size=64, resize_size=64)
    with torch.no_grad():
        logits = mobilenet_v2_classifier(weights=tmp_path / "mobilenet_v2.pth")(images)
        assert relative_difference(logits, theirs(transform(images))) < 1e-4


def test_what_belongs_to_torchvisions_weights_comes_with_them(tmp_path: Path) -> None:
    torch.save(peer(0.75, num_classes=1000).state_dict(), tmp_path / "mobilenet_v2.pth")
    model = mobilenet_v2_classifier(weights=tmp_path / "mobilenet_v2.pth")
    config = model.config["backbone"]
    assert (config["width_mult"], config["padding"], config["norm_eps"], config["norm_momentum"]) == (
        0.75,
        "torch",
        1e-5,
        0.1,
    )
    assert config["mean"] == [0.485, 0.456, 0.406]
    assert config["std"] == [0.229, 0.224, 0.225]
    assert model.class_names[0] == "tench"
    assert model.config["head"]["class_offset"] == 0


@pytest.mark.parametrize("nest", ["state_dict", "model", "model_state_dict"])
def test_a_training_scripts_checkpoint_is_read_through_its_nest_and_wrapper(tmp_path: Path, nest: str) -> None:
    theirs = peer(0.35)
    wrapped = {f"module.{name}": tensor for name, tensor in theirs.state_dict().items()}
    torch.save({nest: wrapped, "epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "model_best.pth.tar")
    ours = mobilenet_v2(weights=tmp_path / "model_best.pth.tar")
    assert torch.equal(ours.stem[0].weight, theirs.features[0][0].weight)


def test_the_features_alone_are_a_backbone(tmp_path: Path) -> None:
    theirs = peer(0.35)
    torch.save(theirs.features.state_dict(), tmp_path / "features.pt")
    ours = mobilenet_v2(weights=tmp_path / "features.pt").eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert relative_difference(ours(images)["last_conv"], theirs.features(images)) < 1e-4
    with pytest.raises(ValueError, match=r"features.pt: these weights have no ClassifierHead"):
        mobilenet_v2_classifier(weights=tmp_path / "features.pt")


def test_features_without_the_last_convolution_serve_those_who_do_not_need_it(tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in peer(0.35).state_dict().items() if name.startswith("features.")}
    cut = {name: tensor for name, tensor in tensors.items() if not name.startswith("features.18.")}
    torch.save(cut, tmp_path / "cut.pth")
    assert mobilenet_v2(weights=tmp_path / "cut.pth", features=("last_bottleneck",)).last_conv is None
    with pytest.raises(ValueError, match=r"cut.pth: 6 tensors of the backbone are missing, first 'last_conv"):
        mobilenet_v2(weights=tmp_path / "cut.pth")


def test_files_from_before_torch_counted_batches_are_read(tmp_path: Path) -> None:
    tensors = peer(0.35).state_dict()
    torch.save({name: tensors[name] for name in tensors if "num_batches" not in name}, tmp_path / "old.pth")
    assert mobilenet_v2(weights=tmp_path / "old.pth").stem[1].num_batches_tracked == 0


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    tensors = peer(0.35).state_dict()
    del tensors["features.5.conv.1.1.running_var"]
    torch.save(tensors, tmp_path / "holes.pth")
    with pytest.raises(ValueError, match=r"holes.pth: 'blocks.4.depthwise.1.running_var', .* is missing"):
        mobilenet_v2(weights=tmp_path / "holes.pth")


def test_a_network_of_another_expansion_is_refused(tmp_path: Path) -> None:
    setting = [
        [1, 16, 1, 1],
        [4, 24, 2, 2],
        [4, 32, 3, 2],
        [4, 64, 4, 2],
        [4, 96, 3, 1],
        [4, 160, 3, 2],
        [4, 320, 1, 1],
    ]
    theirs = torchvision.models.MobileNetV2(num_classes=2, inverted_residual_setting=setting)
    torch.save(theirs.state_dict(), tmp_path / "narrow.pth")
    with pytest.raises(ValueError, match=r"'blocks.1.expansion.0.weight', .* has shape \[64, 16, 1, 1\], but \[96,"):
        mobilenet_v2(weights=tmp_path / "narrow.pth")


def test_another_width_than_the_files_is_refused(tmp_path: Path) -> None:
    torch.save(peer(0.5).state_dict(), tmp_path / "half.pth")
    with pytest.raises(ValueError, match=r"half.pth: these weights have width_mult=0.5, the model asks for 1.0"):
        mobilenet_v2(weights=tmp_path / "half.pth", width_mult=1.0)
    with pytest.raises(ValueError, match=r"half.pth: weights of width_mult=0.5, not 1.0"):
        mobilenet_v2_classifier(weights=tmp_path / "half.pth", width_mult=1.0)
