from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from mnv2dense import load_model, mobilenet_v2, mobilenet_v2_classifier
from mnv2dense.backbones.layout import FEATURE_NAMES
from mnv2dense.models.convert import to_huggingface
from mnv2dense.pretrained.huggingface import has_width
from tests.helpers.peers import SIZES, differences, randomised, relative_difference

pytestmark = pytest.mark.filterwarnings("ignore")  # the peer's own

PLACES = {
    "stride2": "conv_stem",
    "stride4": "layer.1",
    "stride8": "layer.4",
    "stride16": "layer.11",
    "stride16_expanded": "layer.12.expand_1x1",
    "last_bottleneck": "layer.15",
    "last_conv": "conv_1x1",
}


@pytest.fixture(scope="module")
def transformers() -> ModuleType:
    return pytest.importorskip("transformers")


def peer(transformers: ModuleType, width_mult: float = 0.35, **options: object) -> nn.Module:
    options = {"num_labels": 7, "tf_padding": True, **options}
    config = transformers.MobileNetV2Config(depth_multiplier=width_mult, **options)
    return randomised(transformers.MobileNetV2ForImageClassification(config))


@pytest.mark.parametrize(
    ("width_mult", "options"),
    [
        (0.35, {}),
        (0.5, {"tf_padding": False, "layer_norm_eps": 1e-5}),
        (1.0, {}),
        (1.4, {}),
    ],
)
@pytest.mark.parametrize("size", SIZES)
def test_every_feature_and_the_logits_are_transformers(
    transformers: ModuleType, tmp_path: Path, width_mult: float, options: dict[str, object], size: tuple[int, int]
) -> None:
    theirs = peer(transformers, width_mult, **options)
    theirs.save_pretrained(tmp_path)
    ours = mobilenet_v2(weights=tmp_path, features=FEATURE_NAMES)
    images = torch.randn(2, 3, *size)
    assert max(differences(ours, theirs.mobilenet_v2, PLACES, images).values()) < 1e-4
    classifier = mobilenet_v2_classifier(weights=tmp_path)
    with torch.no_grad():
        logits = classifier.head(classifier.backbone(images), size)
        assert relative_difference(logits, theirs(images).logits) < 1e-4


@pytest.mark.parametrize("output_stride", [16, 8])
@pytest.mark.parametrize("size", SIZES)
def test_a_deeplab_checkpoint_is_a_backbone_of_its_stride(
    transformers: ModuleType, tmp_path: Path, output_stride: int, size: tuple[int, int]
) -> None:
    config = transformers.MobileNetV2Config(depth_multiplier=0.35, num_labels=3, output_stride=output_stride)
    theirs = randomised(transformers.MobileNetV2ForSemanticSegmentation(config))
    theirs.save_pretrained(tmp_path)
    ours = mobilenet_v2(weights=tmp_path, features=FEATURE_NAMES, output_stride=output_stride)
    assert max(differences(ours, theirs.mobilenet_v2, PLACES, torch.randn(1, 3, *size)).values()) < 1e-4
    image = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
    model = load_model(tmp_path)
    with torch.no_grad():
        expected = theirs(model.normalize(image)).logits
        assert (model(image) - expected).abs().max() / expected.abs().max() < 1e-4


@pytest.mark.parametrize(
    ("folder", "output_stride"), [("mobilenet_v2_1.0_224", 32), ("deeplabv3_mobilenet_v2_1.0_513", 16)]
)
@pytest.mark.parametrize("size", [(224, 224), (193, 257)])
def test_real_weights_give_the_peers_features(
    shared: Path, transformers: ModuleType, folder: str, output_stride: int, size: tuple[int, int]
) -> None:
    path = shared / "weights" / folder
    ours = mobilenet_v2(weights=path, output_stride=output_stride, features=FEATURE_NAMES)
    theirs = transformers.MobileNetV2Model.from_pretrained(path).eval()
    assert max(differences(ours, theirs, PLACES, torch.rand(1, 3, *size) * 2 - 1).values()) < 1e-4


def test_the_backbone_alone_and_torchs_own_file_are_read(transformers: ModuleType, tmp_path: Path) -> None:
    theirs = peer(transformers)
    theirs.mobilenet_v2.save_pretrained(tmp_path / "backbone")
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    shutil.copy(tmp_path / "backbone" / "config.json", tmp_path)
    expected = theirs.mobilenet_v2.conv_1x1.convolution.weight
    for weights in (tmp_path / "backbone", tmp_path / "backbone" / "model.safetensors", tmp_path):
        assert torch.equal(mobilenet_v2(weights=weights).last_conv[0].weight, expected)


def test_widths_that_transformers_rounds_otherwise_are_known(transformers: ModuleType) -> None:
    for width_mult in (0.35, 0.36, 0.5, 0.54, 0.75, 1.0, 1.1, 1.3, 1.4):
        with torch.device("meta"):
            config = transformers.MobileNetV2Config(depth_multiplier=width_mult)
            theirs = transformers.MobileNetV2Model(config).state_dict()
            ours = mobilenet_v2(width_mult=width_mult).state_dict()
        alike = [t.shape for t in theirs.values()] == [t.shape for t in ours.values()]
        assert has_width(width_mult) == alike, width_mult
    assert not has_width(1.1)


def test_a_file_without_its_config_finds_its_width(transformers: ModuleType, tmp_path: Path) -> None:
    peer(transformers, 0.75).save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    config = mobilenet_v2(weights=tmp_path / "model.safetensors").config
    assert (config["width_mult"], config["padding"], config["norm_eps"]) == (0.75, "tf", 1e-3)


def test_the_preprocessor_brings_normalisation_and_size(transformers: ModuleType, tmp_path: Path) -> None:
    peer(transformers, num_labels=2, id2label={0: "cat", 1: "dog"}).save_pretrained(tmp_path)
    transformers.MobileNetV2ImageProcessor(
        image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6], crop_size={"height": 160, "width": 160}
    ).save_pretrained(tmp_path)
    model = load_model(tmp_path)
    assert model.backbone.mean == (0.1, 0.2, 0.3)
    assert model.backbone.std == (0.4, 0.5, 0.6)
    assert model.size == (160, 160)
    assert model.class_names == ("cat", "dog")


def test_what_belongs_to_the_weights_comes_with_them(shared: Path) -> None:
    model = mobilenet_v2(weights=shared / "weights" / "mobilenet_v2_1.0_224")
    assert model.config["padding"] == "tf"
    assert model.config["norm_eps"] == 1e-3
    assert model.mean == model.std == (0.5, 0.5, 0.5)
    faster = mobilenet_v2(weights=shared / "weights/mobilenet_v2_1.0_224", norm_momentum=0.05)
    assert faster.config["norm_momentum"] == 0.05


def test_the_background_of_imagenet_is_no_class(shared: Path) -> None:
    model = mobilenet_v2_classifier(weights=shared / "weights" / "mobilenet_v2_1.0_224")
    assert model.config["head"]["class_offset"] == 1
    assert (len(model.class_names), model.class_names[0]) == (1000, "tench")


def test_another_width_is_refused_with_the_fix(shared: Path) -> None:
    with pytest.raises(ValueError, match=r"have width_mult=1.0, the model asks for 0.5. Give width_mult=1.0 or"):
        mobilenet_v2(weights=shared / "weights/mobilenet_v2_1.0_224", width_mult=0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "resnet"}, "config.json is of 'resnet', not of a MobileNetV2"),
        ({"finegrained_output": False}, "finegrained_output=False, but the paper's MobileNetV2 has True"),
        ({"depth_multiplier": None}, "model.safetensors: .*depth_multiplier=None, which must be a number from"),
        ({"depth_multiplier": 0.5}, r"shape \[32, 3, 3, 3\], but \[16, 3, 3, 3\] in a MobileNetV2 of width_mult=0.5"),
    ],
)
def test_another_architecture_is_refused(shared: Path, tmp_path: Path, change: dict[str, object], message: str) -> None:
    source = shared / "weights" / "mobilenet_v2_1.0_224"
    config = json.loads((source / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    shutil.copy(source / "model.safetensors", tmp_path)
    with pytest.raises(ValueError, match=message):
        mobilenet_v2(weights=tmp_path)


def written(folder: Path, config: dict[str, object], preprocessing: dict[str, object], columns: int = 7) -> Path:
    """A classifier with other entries in its two json files."""
    save = to_huggingface(mobilenet_v2_classifier(columns, width_mult=0.35), folder)
    for name, change in (("config.json", config), ("preprocessor_config.json", preprocessing)):
        content = json.loads((save / name).read_text()) | change
        (save / name).write_text(json.dumps({key: value for key, value in content.items() if value != "left out"}))
    return save


BY_NUMBER = {str(number): f"LABEL_{number}" for number in range(1001)}
BY_NAME = {str(number): f"bird {number}" for number in range(1001)}


@pytest.mark.parametrize(
    ("labels", "offset"),
    [
        ("left out", 1),
        (BY_NUMBER, 1),
        (BY_NAME | {"0": "Background"}, 1),
        (BY_NAME | {"0": "background"}, 1),
        (BY_NAME, 0),
    ],
)
def test_a_named_first_of_1001_classes_is_no_background(tmp_path: Path, labels: object, offset: int) -> None:
    changes = {"class_offset": "left out", "id2label": labels, "label2id": "left out"}
    model = load_model(written(tmp_path, changes, {}, 1001))
    assert model.config["head"]["class_offset"] == offset
    assert len(model.class_names) == 1001 - offset
    if offset == 0:
        assert model.class_names[0] == "bird 0"


@pytest.mark.parametrize(
    ("file", "entry", "value", "rule"),
    [
        ("config.json", "id2label", ["cat"] * 7, "a table of names by number"),
        ("config.json", "id2label", {str(n): f"bird {n}" for n in range(1, 8)}, "a table of names by number, 0 to 6"),
        ("config.json", "id2label", {"cat": 0}, "a table of names by number"),
        ("config.json", "class_offset", 5000, "a whole number from 0 to 6"),
        ("config.json", "class_offset", "x", "a whole number"),
        ("config.json", "depth_multiplier", "x", "a number"),
        ("config.json", "layer_norm_eps", -1, "a number"),
        ("config.json", "layer_norm_eps", "x", "a number"),
        ("config.json", "norm_momentum", 2, "a number from 0 to 1"),
        ("config.json", "classifier_dropout_prob", "x", "a number"),
        ("config.json", "output_stride", 12, "8, 16 or 32"),
        ("config.json", "tf_padding", "no", "true or false"),
        ("preprocessor_config.json", "image_std", [0, 0, 0], "three numbers above 0"),
        ("preprocessor_config.json", "image_mean", [0.5], "three numbers, one for each"),
        ("preprocessor_config.json", "image_mean", 0.5, "three numbers, one for each"),
        ("preprocessor_config.json", "crop_size", "x", r"\(height, width\)"),
        ("preprocessor_config.json", "crop_size", {"height": 10**6, "width": 10**6}, ".* at most 16384"),
        ("preprocessor_config.json", "do_rescale", False, "true: images come as bytes"),
        ("preprocessor_config.json", "rescale_factor", 1 / 127.5, "1/255"),
    ],
)
def test_an_entry_that_is_off_is_named_with_its_file_and_value(
    tmp_path: Path, file: str, entry: str, value: object, rule: str
) -> None:
    change = {entry: value}
    folder = written(tmp_path, *((change, {}) if file == "config.json" else ({}, change)))
    said = re.escape(f"its {file} has {entry}={value!r}, which must be ")
    with pytest.raises(ValueError, match=rf"model\.safetensors: {said}{rule}"):
        load_model(folder)


def test_an_image_size_that_no_image_has_is_named(tmp_path: Path) -> None:
    folder = written(tmp_path, {"image_size": 1000000}, {"crop_size": "left out"})
    with pytest.raises(ValueError, match=r"config\.json has image_size=1000000, which must be .* at most 16384"):
        load_model(folder)


def test_images_that_are_not_normalised_are_only_scaled(tmp_path: Path) -> None:
    model = load_model(written(tmp_path, {}, {"do_normalize": False}))
    assert (model.backbone.mean, model.backbone.std) == ((0, 0, 0), (1, 1, 1))
