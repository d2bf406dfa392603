"""Other projects' MobileNetV1, with random weights: the same features and logits; and which backbone weights are of."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import lazy_loader
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mnv2dense import (
    MobileNetV1,
    load_model,
    memory_bound,
    mobilenet_v1,
    mobilenet_v2,
    save_model,
    save_safetensors,
    split_inference,
    to_huggingface,
    to_torchvision,
)
from mnv2dense.backbones.layout import FEATURE_NAMES
from mnv2dense.backbones.mobilenet_v1 import layout, width_of
from mnv2dense.models.checkpoint import load_weights
from mnv2dense.pretrained import read_pretrained
from mnv2dense.pretrained.checkpoint_file import CheckpointError
from tests.helpers.peers import SIZES, differences, randomised, relative_difference
from tests.helpers.tiny import tiny_model

h5py = lazy_loader.load("h5py")

pytestmark = pytest.mark.filterwarnings("ignore")  # the peers' own


@pytest.fixture(scope="module")
def transformers() -> ModuleType:
    return pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def timm() -> ModuleType:
    return pytest.importorskip("timm")


@torch.no_grad()
def assert_same_logits(weights: Path, images: Tensor, expected: Tensor) -> None:
    model = load_model(weights)
    found = model.head(model.backbone(images), (images.shape[2], images.shape[3]))
    assert relative_difference(found, expected) < 1e-4


# Of transformers: its 1x1 convolutions have odd numbers, and the last of a stride is the last before the next.
HF_PLACES = {
    "stride2": "layer.1",
    "stride4": "layer.5",
    "stride8": "layer.9",
    "stride16": "layer.21",
    "stride16_expanded": "layer.21",
    "last_bottleneck": "layer.25",
    "last_conv": "layer.25",
}


def hf_peer(transformers: ModuleType, width_mult: float = 0.25, **options: object) -> nn.Module:
    config = transformers.MobileNetV1Config(depth_multiplier=width_mult, **{"num_labels": 7, **options})
    return randomised(transformers.MobileNetV1ForImageClassification(config))


@pytest.mark.parametrize(
    ("width_mult", "options"),
    [(0.25, {}), (0.5, {"tf_padding": False, "layer_norm_eps": 1e-5}), (0.35, {}), (0.75, {}), (1.0, {})],
)
@pytest.mark.parametrize("size", SIZES)
def test_every_feature_and_the_logits_are_transformers(
    transformers: ModuleType, tmp_path: Path, width_mult: float, options: dict[str, object], size: tuple[int, int]
) -> None:
    theirs = hf_peer(transformers, width_mult, **options)
    theirs.save_pretrained(tmp_path)
    ours = mobilenet_v1(weights=tmp_path, features=FEATURE_NAMES)
    assert ours.config["width_mult"] == width_mult
    images = torch.randn(2, 3, *size)
    assert max(differences(ours, theirs.mobilenet_v1, HF_PLACES, images).values()) < 1e-4
    assert_same_logits(tmp_path, images, theirs(images).logits)


def test_transformers_tensors_alone_tell_their_width(transformers: ModuleType, tmp_path: Path) -> None:
    hf_peer(transformers, 0.5).save_pretrained(tmp_path / "folder")
    tensors = load_file(tmp_path / "folder" / "model.safetensors")
    backbone = {name.removeprefix("mobilenet_v1."): tensors[name] for name in tensors if "classifier" not in name}
    save_file(backbone, tmp_path / "alone.safetensors")
    found = read_pretrained(tmp_path / "alone.safetensors")
    assert (found.kind, found.width_mult, found.model) == (MobileNetV1, 0.5, None)
    assert (found.options["padding"], found.options["norm_eps"]) == ("tf", 1e-3)


def test_tensorflows_columns_dropout_and_momentum_come_along(transformers: ModuleType, tmp_path: Path) -> None:
    hf_peer(transformers, num_labels=1001).save_pretrained(tmp_path)
    model = load_model(tmp_path)
    assert (len(model.class_names), model.head.config["class_offset"]) == (1000, 1)
    assert model.head.config["dropout"] == 0.001  # transformers has TensorFlow's share that is kept, 0.999
    assert model.backbone.config["norm_momentum"] == 0.0003


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act='relu', but the paper's MobileNetV1 has 'relu6'"),
        ({"model_type": "mobilenet_v2"}, "model_type='mobilenet_v2', this backbone takes 'mobilenet_v1'"),
    ],
)
def test_a_config_of_another_network_is_refused(
    transformers: ModuleType, tmp_path: Path, entry: dict[str, str], message: str
) -> None:
    hf_peer(transformers).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | entry))
    with pytest.raises(ValueError, match=message):
        mobilenet_v1(weights=tmp_path)


TIMM_PLACES = {
    "stride2": "blocks.0",
    "stride4": "blocks.1",
    "stride8": "blocks.2",
    "stride16": "blocks.3",
    "stride16_expanded": "blocks.3",
    "last_bottleneck": "blocks.4",
    "last_conv": "bn2",
}


@pytest.mark.parametrize(
    ("name", "width_mult", "head_conv"),
    [("mobilenetv1_100", 1.0, False), ("mobilenetv1_100h", 1.0, True), ("mobilenetv1_125", 1.25, False)],
)
@pytest.mark.parametrize("size", SIZES)
def test_every_feature_and_the_logits_are_timms(
    timm: ModuleType, tmp_path: Path, name: str, width_mult: float, head_conv: bool, size: tuple[int, int]
) -> None:
    theirs = randomised(timm.create_model(name, num_classes=7))
    torch.save(theirs.state_dict(), tmp_path / f"{name}.pth")
    ours = mobilenet_v1(weights=tmp_path / f"{name}.pth", features=FEATURE_NAMES)
    assert (ours.config["width_mult"], ours.config["head_conv"]) == (width_mult, head_conv)
    assert (ours.mean, ours.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    images = torch.randn(2, 3, *size)
    assert max(differences(ours, theirs, TIMM_PLACES, images).values()) < 1e-4
    assert_same_logits(tmp_path / f"{name}.pth", images, theirs(images))


def test_a_folder_of_timm_is_read_and_one_of_another_network_refused(timm: ModuleType, tmp_path: Path) -> None:
    from timm.models import save_for_hf

    theirs = randomised(timm.create_model("mobilenetv1_100", num_classes=2))
    save_for_hf(theirs, tmp_path, model_config={"label_names": ["cat", "dog"]})
    assert load_model(tmp_path).class_names == ("cat", "dog")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "mobilenetv2_100"}))
    with pytest.raises(ValueError, match=r"architecture='mobilenetv2_100', this backbone takes mobilenetv1_\*"):
        mobilenet_v1(weights=tmp_path)


KERAS_PLACES = {
    "stride2": "conv_pw_1_relu",
    "stride4": "conv_pw_3_relu",
    "stride8": "conv_pw_5_relu",
    "stride16": "conv_pw_11_relu",
    "stride16_expanded": "conv_pw_11_relu",
    "last_bottleneck": "conv_pw_13_relu",
    "last_conv": "conv_pw_13_relu",
}


@pytest.fixture(scope="module")
def keras(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    os.environ["KERAS_BACKEND"] = "torch"
    os.environ.setdefault("KERAS_HOME", str(tmp_path_factory.mktemp("keras_home")))  # it writes its settings
    keras: ModuleType = pytest.importorskip("keras")
    assert keras.backend.backend() == "torch"
    return keras


def keras_peer(keras: ModuleType, **options: object) -> Any:  # noqa: ANN401 - keras is not imported here
    own = {"weights": None, "alpha": 0.25, "input_shape": (64, 96, 3), "classes": 5, "classifier_activation": None}
    model = keras.applications.MobileNet(**(own | options))
    random = np.random.default_rng(0)
    ranges = {"gamma": (0.7, 1.3), "moving_variance": (0.5, 1.5)}
    for variable in model.weights:
        kind, shape = variable.path.rpartition("/")[2], tuple(variable.shape)
        if kind == "kernel":
            fan_in = shape[0] * shape[1] * (shape[2] if shape[-1] > 1 else 1)
            variable.assign(random.normal(0, (2 / fan_in) ** 0.5, shape))
        else:
            variable.assign(random.uniform(*ranges.get(kind, (-0.2, 0.3)), shape))
    return model


@pytest.mark.needs("h5py")
@pytest.mark.parametrize("alpha", [0.25, 0.5, 0.75, 1.0])
@torch.no_grad()
def test_every_feature_and_the_logits_are_those_of_keras(keras: ModuleType, tmp_path: Path, alpha: float) -> None:
    theirs = keras_peer(keras, alpha=alpha)
    theirs.save(tmp_path / "mobilenet.keras")
    images = torch.randn(1, 3, 64, 96)
    outputs = [theirs.get_layer(layer).output for layer in KERAS_PLACES.values()] + theirs.outputs
    found = keras.Model(theirs.inputs, outputs)(images.permute(0, 2, 3, 1).numpy(), training=False)
    ours = mobilenet_v1(weights=tmp_path / "mobilenet.keras", features=FEATURE_NAMES).eval()
    assert ours.config["width_mult"] == alpha
    got = ours(images)
    for name, expected in zip(KERAS_PLACES, found, strict=False):
        assert relative_difference(got[name], expected.permute(0, 3, 1, 2)) < 1e-4, name
    assert_same_logits(tmp_path / "mobilenet.keras", images, found[-1])


@pytest.mark.needs("h5py")
def test_every_format_of_keras_holds_the_same_tensors(keras: ModuleType, tmp_path: Path) -> None:
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    theirs = keras_peer(keras)
    with h5py.File(tmp_path / "mobilenet_2_5_192_tf.h5", "w") as file:  # as Keras' downloads are called
        save_weights_to_hdf5_group(file, theirs)
    theirs.save(tmp_path / "whole.h5")
    theirs.save_weights(tmp_path / "new.weights.h5")
    with h5py.File(tmp_path / "new.weights.h5", "a") as file:  # the order of layers has to do, as of Keras 3.0
        file.visititems(lambda path, entry: entry.attrs.pop("name", None) and None)
    theirs.save(tmp_path / "new.keras")
    wanted = read_pretrained(tmp_path / "new.keras")
    norm = theirs.get_layer("conv1_bn")
    assert (wanted.kind, wanted.options["norm_eps"]) == (MobileNetV1, norm.epsilon)
    assert wanted.options["norm_momentum"] == pytest.approx(1 - norm.momentum)
    for name in ("mobilenet_2_5_192_tf.h5", "whole.h5", "new.weights.h5"):
        got = read_pretrained(tmp_path / name)
        for tensors, expected in ((got.backbone, wanted.backbone), (got.head, wanted.head)):
            assert tensors.keys() == expected.keys()
            assert all(torch.equal(tensors[key], expected[key]) for key in expected), name
    downloaded = read_pretrained(tmp_path / "mobilenet_2_5_192_tf.h5").model
    assert downloaded is not None
    assert downloaded["size"] == [192, 192]


@pytest.mark.needs("h5py")
def test_a_backbone_inside_another_keras_model_comes_without_its_head(keras: ModuleType, tmp_path: Path) -> None:
    body = keras_peer(keras, include_top=False)
    images = keras.Input((64, 96, 3))
    keras.Model(images, keras.layers.Dense(3)(keras.layers.GlobalMaxPooling2D()(body(images)))).save(tmp_path / "m.h5")
    assert read_pretrained(tmp_path / "m.h5").model is None
    assert mobilenet_v1(weights=tmp_path / "m.h5").config["width_mult"] == 0.25


@pytest.mark.needs("h5py")
def test_a_layer_that_is_missing_is_named(keras: ModuleType, tmp_path: Path) -> None:
    keras_peer(keras).save(tmp_path / "cut.h5")
    with h5py.File(tmp_path / "cut.h5", "a") as file:
        del file["model_weights"]["conv_pw_3_bn"]
    with pytest.raises(ValueError, match=r"cut\.h5: 1 of the 54 layers of a MobileNetV1 .* first 'conv_pw_3_bn'"):
        read_pretrained(tmp_path / "cut.h5")


def test_our_own_files_are_read_back(tmp_path: Path) -> None:
    detector = tiny_model(backbone=MobileNetV1)
    save_model(detector, tmp_path / "model.ckpt")
    save_safetensors(detector, tmp_path / "model.safetensors")
    for name in ("model.ckpt", "model.safetensors"):
        assert load_model(tmp_path / name).config == detector.config
        backbone = mobilenet_v1(weights=tmp_path / name, output_stride=16)
        assert backbone.config == detector.backbone.config | {"output_stride": 16}
        assert all(torch.equal(own, detector.backbone.state_dict()[key]) for key, own in backbone.state_dict().items())
        again = tiny_model(backbone=MobileNetV1, seed=1)
        assert load_weights(again, tmp_path / name).left == []


def test_a_bare_backbone_is_written_and_read_back(tmp_path: Path) -> None:
    backbone = MobileNetV1(width_mult=0.25, head_conv=True, padding="tf", norm_eps=1e-3)
    save_safetensors(backbone, tmp_path / "backbone.safetensors")
    assert mobilenet_v1(weights=tmp_path / "backbone.safetensors").config == backbone.config


def test_what_is_mobilenet_v2s_own_refuses_it_in_a_line(tmp_path: Path) -> None:
    model = tiny_model(backbone=MobileNetV1)
    with pytest.raises(ValueError, match="a MobileNetV1 cannot go to torchvision: only a MobileNetV2 can"):
        to_torchvision(model)
    with pytest.raises(ValueError, match="a MobileNetV1 cannot go to transformers: only a MobileNetV2 can"):
        to_huggingface(model, tmp_path / "out")
    for refuse in (split_inference, memory_bound):
        with pytest.raises(ValueError, match="MobileNetV1 cannot be cut into groups: give a MobileNetV2"):
            refuse(model)


def test_weights_of_the_other_backbone_are_refused_with_the_one_that_takes_them(tmp_path: Path) -> None:
    one, two = tiny_model(backbone=MobileNetV1), tiny_model()
    save_model(one, tmp_path / "one.ckpt")
    save_model(two, tmp_path / "two.ckpt")
    with pytest.raises(ValueError, match=r"two\.ckpt: these are weights of a MobileNetV2.*backbone=mobilenet_v2, or"):
        mobilenet_v1(weights=tmp_path / "two.ckpt")
    with pytest.raises(ValueError, match=r"one\.ckpt: these are weights of a MobileNetV1.*backbone=mobilenet_v1, or"):
        mobilenet_v2(weights=tmp_path / "one.ckpt")
    with pytest.raises(CheckpointError, match=r"two\.ckpt holds weights of a MobileNetV2.*with backbone=mobilenet_v2"):
        load_weights(one, tmp_path / "two.ckpt")
    with pytest.raises(CheckpointError, match=r"one\.ckpt holds weights of a MobileNetV1.*with backbone=mobilenet_v1"):
        load_weights(two, tmp_path / "one.ckpt")


@pytest.mark.parametrize("width_mult", [0.1, 0.25, 0.35, 0.5, 0.75, 1.0, 1.25, 2.0])
def test_shapes_tell_a_width_that_has_them(width_mult: float) -> None:
    plan = layout(width_mult=width_mult)
    assert width_of(plan.stem_channels, [row.out_channels for row in plan.blocks]) == width_mult


def test_shapes_of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a stem of 64 channels and blocks of \[64, 128\] belong to no width of Mob"):
        width_of(64, [64, 128])
