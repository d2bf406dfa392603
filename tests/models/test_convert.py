from __future__ import annotations

import copy
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from mnv2dense import (
    DenseModel,
    MobileNetV2,
    Predictor,
    build_model,
    load_model,
    mobilenet_v2,
    mobilenet_v2_classifier,
    push_to_hub,
    save_model,
    save_pretrained,
    split_inference,
)
from mnv2dense.io.reading import read_image
from mnv2dense.models.convert import save_safetensors, to_huggingface, to_torchvision
from mnv2dense.ops.resize import ResizeMode, resize
from mnv2dense.pretrained import read_pretrained
from tests.helpers.peers import SIZES, randomised, relative_difference
from tests.helpers.tiny import tiny_model

PADDINGS = [{"padding": "tf", "norm_eps": 1e-3}, {"padding": "torch", "norm_eps": 1e-5}]


def classifier(class_offset: int = 1, resize: str = "crop", **backbone: object) -> DenseModel:
    config = {
        "size": [96, 96],
        "resize": resize,
        "class_names": ["cat", "dog", "parrot"],
        "backbone": {"_target_": "mnv2dense.backbones.MobileNetV2", "width_mult": 0.35, **backbone},
        "head": {
            "_target_": "mnv2dense.heads.ClassifierHead",
            "features": ["last_conv"],
            "class_offset": class_offset,
            "dropout": 0.1,
        },
    }
    model = randomised(build_model(config))
    assert isinstance(model, DenseModel)
    return model


def logits_of(model: DenseModel, images: Tensor) -> Tensor:
    logits: Tensor = model.head(model.backbone(images), (images.shape[2], images.shape[3]))
    return logits


def assert_equal(one: nn.Module, other: nn.Module) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("options", PADDINGS)
@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_torchvisions_network_gives_the_same_logits(options: dict[str, object], size: tuple[int, int]) -> None:
    model = classifier(**options)
    theirs = to_torchvision(model)
    assert type(theirs) is torchvision.models.MobileNetV2
    assert not theirs.training
    images = torch.randn(2, 3, *size)
    assert theirs(images).shape == (2, 4)
    assert relative_difference(theirs(images), logits_of(model, images)) < 1e-6


def test_a_plain_torchvision_model_takes_the_state_dict_where_padding_is_torchs() -> None:
    model = classifier(class_offset=0, **PADDINGS[1])
    plain = torchvision.models.mobilenet_v2(num_classes=3, width_mult=0.35).eval()
    plain.load_state_dict(to_torchvision(model).state_dict())
    images = torch.randn(1, 3, 65, 65)
    with torch.no_grad():
        assert relative_difference(plain(images), logits_of(model, images)) < 1e-6


def test_the_tensors_come_back_from_torchvision_exactly(tmp_path: Path) -> None:
    model = classifier(class_offset=0, **PADDINGS[1])
    torch.save(to_torchvision(model).state_dict(), tmp_path / "out.pth")
    assert_equal(mobilenet_v2_classifier(weights=tmp_path / "out.pth"), model)


def test_the_torchvision_module_shares_no_memory_with_the_model() -> None:
    model = classifier()
    before = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in to_torchvision(model).parameters():
            parameter.zero_()
    assert_equal(model, before)


def test_a_bare_backbone_gives_torchvisions_pooled_features() -> None:
    backbone = randomised(MobileNetV2(width_mult=0.35, padding="tf"))
    assert isinstance(backbone, MobileNetV2)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        pooled = backbone(images)["last_conv"].mean(dim=(2, 3))
        assert relative_difference(to_torchvision(backbone)(images), pooled) < 1e-6


@pytest.fixture(scope="module")
def transformers() -> ModuleType:
    return pytest.importorskip("transformers")


@pytest.mark.parametrize("options", PADDINGS)
@pytest.mark.parametrize("output_stride", [32, 16])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.filterwarnings("ignore")  # the peer's own
def test_transformers_loads_the_folder_and_gives_the_same_logits(
    transformers: ModuleType,
    tmp_path: Path,
    options: dict[str, object],
    output_stride: int,
    size: tuple[int, int],
) -> None:
    model = classifier(output_stride=output_stride, **options)
    theirs, report = transformers.MobileNetV2ForImageClassification.from_pretrained(
        to_huggingface(model, tmp_path / "out"), output_loading_info=True
    )
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert theirs.config.id2label == {0: "background", 1: "cat", 2: "dog", 3: "parrot"}
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        assert relative_difference(theirs.eval()(images).logits, logits_of(model, images)) < 1e-6


@pytest.mark.parametrize("mode", ["crop", "squash"])
@pytest.mark.filterwarnings("ignore")  # the peer's own
def test_the_image_processor_prepares_images_as_the_model_does(
    transformers: ModuleType, tmp_path: Path, mode: ResizeMode
) -> None:
    model = classifier(resize=mode, mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6])
    processor = transformers.AutoImageProcessor.from_pretrained(to_huggingface(model, tmp_path))
    # A gradient: where the two resize differently by a pixel, values stay close; another crop would not.
    rows, columns = np.mgrid[0:150, 0:200]
    image = np.stack([rows, columns, (rows + columns) // 2], axis=2).astype(np.uint8)
    theirs = torch.as_tensor(processor(image, return_tensors="pt")["pixel_values"])
    ours = model.normalize(resize(torch.from_numpy(image).permute(2, 0, 1), model.size, mode)[0][None])
    assert theirs.shape == ours.shape
    assert (theirs - ours).abs().max() < 0.05  # of a range of 2


@pytest.mark.parametrize("class_offset", [0, 1, 2])
@pytest.mark.parametrize("mode", ["crop", "squash"])
def test_the_folder_comes_back_exactly(tmp_path: Path, class_offset: int, mode: str) -> None:
    backbone = {"norm_momentum": 0.05, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "padding": "tf"}
    model = classifier(class_offset, mode, **backbone)
    back = load_model(to_huggingface(model, tmp_path))
    assert_equal(back, model)
    assert back.config == model.config


@pytest.mark.filterwarnings("ignore")  # the peer's own
def test_a_bare_backbone_goes_to_transformers_and_back(transformers: ModuleType, tmp_path: Path) -> None:
    backbone = randomised(MobileNetV2(width_mult=0.35, padding="tf", norm_eps=1e-3))
    assert isinstance(backbone, MobileNetV2)
    theirs = transformers.MobileNetV2Model.from_pretrained(to_huggingface(backbone, tmp_path)).eval()
    images = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        assert relative_difference(theirs(images).last_hidden_state, backbone(images)["last_conv"]) < 1e-6
    back = mobilenet_v2(weights=tmp_path)
    assert_equal(back, backbone)
    assert back.config == backbone.config


def test_a_file_of_safetensors_is_the_whole_model_again(tmp_path: Path) -> None:
    for number, model in enumerate((classifier(), tiny_model())):
        path = save_safetensors(model.to(memory_format=torch.channels_last), tmp_path / f"{number}.safetensors")
        back = load_model(path)
        assert_equal(back, model)
        assert back.config == model.config
        assert_equal(mobilenet_v2(weights=path, features=tuple(model.backbone.feature_info)), model.backbone)


def test_a_file_of_safetensors_keeps_every_option_of_a_backbone(tmp_path: Path) -> None:
    backbone = MobileNetV2(width_mult=0.35, depth_mult=1.2, scale_ends=False, expansion=4, shortcut="expansion")
    back = mobilenet_v2(weights=save_safetensors(backbone, tmp_path / "backbone.safetensors"))
    assert_equal(back, backbone)
    assert back.config == backbone.config


def test_a_file_that_would_not_be_recognised_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model.bin: the name must end in .safetensors"):
        save_safetensors(classifier(), tmp_path / "model.bin")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value"),
    [("depth_mult", 1.2), ("scale_ends", False), ("expansion", 3), ("bottleneck", "relu6"), ("shortcut", "none")],
)
def test_an_option_that_others_cannot_express_is_named(tmp_path: Path, option: str, value: object) -> None:
    model = classifier(**{option: value})
    with pytest.raises(ValueError, match=rf"{option}={value!r}: torchvision's MobileNetV2 has"):
        to_torchvision(model)
    with pytest.raises(ValueError, match=rf"{option}={value!r}: transformers's MobileNetV2 has"):
        to_huggingface(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_go_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a SSDLiteHead cannot go to torchvision: only classifiers and bare backbones"):
        to_torchvision(tiny_model())
    with pytest.raises(ValueError, match="ends in the last convolution, this one in stride8"):
        to_torchvision(mobilenet_v2(features=("stride8",)))
    with pytest.raises(ValueError, match="output_stride=16: torchvision's MobileNetV2 has 32 alone"):
        to_torchvision(classifier(output_stride=16))
    with pytest.raises(ValueError, match=r"width_mult=1.1: transformers rounds its channels otherwise"):
        to_huggingface(mobilenet_v2(width_mult=1.1), tmp_path / "out")
    with pytest.raises(ValueError, match="resize='letterbox' to 96 x 96"):
        to_huggingface(classifier(resize="letterbox"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def photos(shared: Path) -> list[Path]:
    return sorted((shared / "photos").glob("*.jpg"))


def test_on_photos_torchvision_gives_the_logits_of_the_real_weights(shared: Path) -> None:
    model = mobilenet_v2_classifier(weights=shared / "weights" / "mobilenet_v2_1.0_224")
    theirs = to_torchvision(model)
    batch = torch.stack(
        [resize(torch.from_numpy(read_image(path)).permute(2, 0, 1), (224, 224))[0] for path in photos(shared)]
    )
    with torch.no_grad():
        logits = theirs(batch / 127.5 - 1)
        assert logits.shape == (4, 1001)
        assert relative_difference(logits, model(batch)) < 1e-5


def test_the_photos_are_named_as_the_official_int8_file_names_them(shared: Path) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    official = litert.Interpreter(str(shared / "peers" / "tf2_mobilenet_v2_1.0_224_ptq.tflite"))
    official.allocate_tensors()
    (taken,), (given,) = official.get_input_details(), official.get_output_details()
    labels = (shared / "peers" / "imagenet_labels.txt").read_text().splitlines()
    model = mobilenet_v2_classifier(weights=shared / "weights" / "mobilenet_v2_1.0_224", resize="squash")
    predict = Predictor(model, device="cpu")
    scale, zero = taken["quantization"]
    named = {}
    for path in photos(shared):
        image = resize(torch.from_numpy(read_image(path)).permute(2, 0, 1), (224, 224))[0]
        pixels = (image.permute(1, 2, 0)[None].numpy() / 127.5 - 1) / scale + zero
        official.set_tensor(taken["index"], np.clip(np.round(pixels), 0, 255).astype(np.uint8))
        official.invoke()
        theirs = int(official.get_tensor(given["index"])[0].argmax())
        ours = int(predict(path).labels[0])
        assert ours + 1 == theirs, path.name  # 0 is the background there
        named[path.stem] = labels[theirs]
    assert named == {
        "cat_720p": "Egyptian cat",
        "kite_and_cold": "seashore, coast, seacoast, sea-coast",
        "parrot": "macaw",
        "pets": "Boston bull, Boston terrier",
    }


def test_a_config_written_for_transformers_is_json_that_people_can_read(tmp_path: Path) -> None:
    to_huggingface(classifier(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["model_type"], config["depth_multiplier"], config["tf_padding"]) == ("mobilenet_v2", 0.35, False)
    assert read_pretrained(tmp_path).source == "Hugging Face"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]


def test_a_model_cut_into_groups_is_refused_by_all_that_save(tmp_path: Path) -> None:
    """Its tensors have other names than its config's: the file could not be read again."""
    cut = split_inference(mobilenet_v2_classifier(2, width_mult=0.35), 2)
    for save in (
        lambda: save_model(cut, tmp_path / "cut.ckpt"),
        lambda: save_safetensors(cut, tmp_path / "cut.safetensors"),
        lambda: save_safetensors(cut.backbone, tmp_path / "cut.safetensors"),  # type: ignore[arg-type]
        lambda: save_pretrained(cut, tmp_path / "cut"),
        lambda: push_to_hub(cut, "owner/cut"),
    ):
        with pytest.raises(ValueError, match=r"a copy for inference.* Save the original\."):
            save()
    assert list(tmp_path.iterdir()) == []
