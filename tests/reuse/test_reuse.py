"""The backbone inside other projects' models, with those projects as installed."""

from __future__ import annotations

import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mnv2dense import MobileNetV2, mobilenet_v2
from mnv2dense.backbones.layout import FEATURE_NAMES
from mnv2dense.reuse import FeatureList, PyramidBody, RenamedFeatures, SmpEncoder, register_smp_encoder

PAGE = Path(__file__).parents[2] / "docs" / "reuse.md"

# torch's own notice that TorchScript will go; it goes on working.
pytestmark = pytest.mark.filterwarnings(r"ignore:`torch\.jit\.\w+` is deprecated:FutureWarning")


def section(heading: str) -> str:
    """The code under a heading of the page."""
    text = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (code,) = (
        re.findall(r"^```python\n(.*?)^```", part, re.DOTALL | re.MULTILINE)
        for part in text
        if part.startswith(heading + "\n")
    )
    return "".join(code)


def run(heading: str) -> dict[str, Any]:
    """Run the code under a heading as a program of its own; what it leaves behind."""
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    exec(compile(section(heading), str(PAGE), "exec"), names)
    return names


def shuffle_statistics(model: nn.Module) -> None:
    """Give batch norms statistics that no two layers share, so that a layer in the wrong place shows."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)


def assert_trained_whole(loss: Tensor, backbone: MobileNetV2) -> None:
    assert loss.isfinite()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    gradient = backbone.stem[0].weight.grad
    assert isinstance(gradient, Tensor)
    assert gradient.abs().sum() > 0


# The page


def test_every_piece_of_code_on_the_page_is_run_by_a_test_here() -> None:
    headings = re.findall(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    here = Path(__file__).read_text(encoding="utf-8")
    assert len(headings) == PAGE.read_text(encoding="utf-8").count("```python")
    assert [heading for heading in headings if f'run("{heading}")' not in here] == []


def test_the_backbone_alone_gives_a_dict_of_maps() -> None:
    maps = run("The backbone alone")["maps"]
    assert list(maps) == ["stride8", "last_bottleneck"]
    assert maps["stride8"].shape == (1, 32, 16, 12)


# torchvision


def test_faster_rcnn_trains_the_whole_backbone_and_predicts() -> None:
    left = run("torchvision: Faster R-CNN with a feature pyramid")
    assert_trained_whole(left["loss"], left["backbone"])
    assert [set(one) for one in left["found"]] == [{"boxes", "labels", "scores"}] * 2
    assert left["model"].transform.image_mean == left["backbone"].mean


def test_the_pyramid_has_the_names_and_strides_that_torchvisions_defaults_count_on() -> None:
    backbone = MobileNetV2(width_mult=0.35, features=("stride4", "stride8", "stride16", "last_bottleneck"))
    body = PyramidBody(backbone, out_channels=32)
    sizes = {name: tuple(one.shape) for name, one in body(torch.zeros(1, 3, 128, 64)).items()}
    assert sizes == {
        "0": (1, 32, 32, 16),
        "1": (1, 32, 16, 8),
        "2": (1, 32, 8, 4),
        "3": (1, 32, 4, 2),
        "pool": (1, 32, 2, 1),
    }
    assert body.out_channels == 32


@pytest.mark.parametrize(
    ("features", "output_stride"),
    [(("stride8", "stride4"), 32), (("stride16", "last_bottleneck"), 16), (("last_bottleneck", "last_conv"), 32)],
)
def test_a_pyramid_whose_levels_do_not_get_coarser_is_refused(features: tuple[str, ...], output_stride: int) -> None:
    backbone = MobileNetV2(width_mult=0.35, features=features, output_stride=output_stride)
    with pytest.raises(ValueError, match=r"strides \[\d+, \d+\], but each level of a pyramid must be coarser"):
        PyramidBody(backbone)


def test_deeplab_with_its_auxiliary_head_trains_the_whole_backbone() -> None:
    left = run("torchvision: DeepLabV3")
    assert left["logits"]["out"].shape == left["logits"]["aux"].shape == (2, 21, 64, 96)
    assert_trained_whole(left["loss"], left["backbone"])


@pytest.mark.parametrize("output_stride", [8, 16])
def test_deeplab_sees_the_output_stride_asked_for(output_stride: int) -> None:
    from torchvision.models.segmentation.deeplabv3 import DeepLabHead, DeepLabV3

    backbone = MobileNetV2(width_mult=0.35, features=("last_bottleneck",), output_stride=output_stride)
    body = RenamedFeatures(backbone, {"out": "last_bottleneck"})
    assert body(torch.zeros(2, 3, 64, 64))["out"].shape == (2, 112, 64 // output_stride, 64 // output_stride)
    logits = DeepLabV3(body, DeepLabHead(body.channels["out"], 4))(torch.rand(2, 3, 64, 64))["out"]
    loss = nn.functional.cross_entropy(logits, torch.randint(0, 4, (2, 64, 64)))
    loss.backward()
    assert_trained_whole(loss, backbone)


@pytest.mark.parametrize("names", [{"out": "last_conv"}, {}])
def test_renaming_a_feature_that_was_not_built_is_refused(names: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"the backbone was built for \['stride8'\]. Build it with features="):
        RenamedFeatures(MobileNetV2(width_mult=0.35, features=("stride8",)), names)


# segmentation_models_pytorch


@pytest.fixture
def smp() -> Any:  # noqa: ANN401
    """segmentation_models_pytorch, without our encoders once the test has ended."""
    smp = pytest.importorskip("segmentation_models_pytorch")
    before = dict(smp.encoders.encoders)
    yield smp
    smp.encoders.encoders.clear()
    smp.encoders.encoders.update(before)


@pytest.fixture
def narrow(smp: Any) -> str:  # noqa: ANN401
    """The name of a registered encoder of width 0.35."""
    register_smp_encoder("narrow", width_mult=0.35, padding="tf")
    return "narrow"


def test_a_unet_trains_the_whole_backbone(smp: Any) -> None:  # noqa: ANN401
    left = run("segmentation_models_pytorch")
    assert left["logits"].shape == (2, 5, 64, 96)
    assert_trained_whole(left["loss"], left["model"].encoder.backbone)
    image = np.array([[[0, 51, 255]]], dtype=np.uint8)
    np.testing.assert_allclose(left["prepare"](image), [[[-1.0, -0.6, 1.0]]])  # mean and std are 0.5


def test_the_encoder_has_the_channels_of_smps_own_mobilenet(smp: Any) -> None:  # noqa: ANN401
    register_smp_encoder("ours")
    register_smp_encoder("ours-320", last="last_bottleneck")
    assert smp.encoders.get_encoder("ours").out_channels == smp.encoders.get_encoder("mobilenet_v2").out_channels
    assert smp.encoders.get_encoder("ours-320").out_channels == [3, 16, 24, 32, 96, 320]


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_maps_begin_with_the_image_and_have_the_channels_announced(
    smp: Any,  # noqa: ANN401
    narrow: str,
    depth: int,
    output_stride: int,
) -> None:
    encoder = smp.encoders.get_encoder(narrow, in_channels=3, depth=depth, output_stride=output_stride).eval()
    images = torch.rand(1, 3, 64, 32)
    maps = encoder(images)
    assert maps[0] is images
    strides = [min(2**level, output_stride) for level in range(depth + 1)]
    assert [one.shape for one in maps] == [
        (1, channels, 64 // stride, 32 // stride)
        for channels, stride in zip(encoder.out_channels, strides, strict=True)
    ]
    assert encoder.output_stride == strides[-1]
    assert len(encoder.backbone.blocks) <= {1: 1, 2: 3, 3: 6, 4: 13, 5: 17}[depth]


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("Unet", {"encoder_depth": 3, "decoder_channels": (32, 16, 8), "in_channels": 1}),
        ("FPN", {}),
        ("DeepLabV3Plus", {"encoder_output_stride": 16}),
        ("DeepLabV3", {"encoder_output_stride": 8, "in_channels": 4}),
    ],
)
def test_decoders_take_a_training_step(smp: Any, narrow: str, architecture: str, options: dict[str, Any]) -> None:  # noqa: ANN401
    model = getattr(smp, architecture)(narrow, encoder_weights=None, classes=2, **options)
    logits = model(torch.rand(2, options.get("in_channels", 3), 64, 64))
    assert logits.shape == (2, 2, 64, 64)
    loss = nn.functional.cross_entropy(logits, torch.randint(0, 2, (2, 64, 64)))
    loss.backward()
    assert_trained_whole(loss, model.encoder.backbone)


def test_a_unet_can_be_scripted_pickled_and_exported(smp: Any, narrow: str) -> None:  # noqa: ANN401
    model = smp.Unet(narrow, encoder_weights=None, encoder_depth=3, decoder_channels=(16, 8, 8)).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        wanted = model(images)
        torch.testing.assert_close(torch.jit.script(model)(images), wanted)
        torch.testing.assert_close(pickle.loads(pickle.dumps(model))(images), wanted)
        torch.testing.assert_close(torch.export.export(model, (images,)).module()(images), wanted)


def test_weights_named_at_registration_arrive_with_their_constants(smp: Any, tmp_path: Path) -> None:  # noqa: ANN401
    source = foreign_weights(tmp_path)
    register_smp_encoder("with-weights", weights=source)
    encoder = smp.Unet("with-weights", encoder_weights=None).encoder.eval()
    same = mobilenet_v2(weights=source, features=("stride2", "stride4", "stride8", "stride16", "last_conv")).eval()
    images = torch.rand(1, 3, 64, 64)
    for ours, smps in zip(same(images).values(), encoder(images)[1:], strict=True):
        torch.testing.assert_close(smps, ours)
    assert encoder.preprocessing["mean"] == list(same.mean) == [0.485, 0.456, 0.406]


@pytest.mark.parametrize("depth", [3, 5])
def test_a_unet_made_as_smps_users_do_has_the_imagenet_weights_of_smps_own(
    smp: Any,  # noqa: ANN401
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    depth: int,
) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    published = smp.encoders.get_encoder("mobilenet_v2", weights=None)
    for name, buffer in published.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    save_file(published.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}')
    monkeypatch.setattr(smp.encoders, "hf_hub_download", lambda repo_id, filename, revision: tmp_path / filename)
    register_smp_encoder()
    options = {"encoder_depth": depth, "decoder_channels": (64, 32, 16, 8, 8)[:depth]}
    ours, theirs = (smp.Unet(name, **options).encoder.eval() for name in ("mnv2dense-mobilenet_v2", "mobilenet_v2"))
    images = torch.rand(1, 3, 64, 64)
    for mine, wanted in zip(ours(images), theirs(images), strict=True):
        torch.testing.assert_close(mine, wanted)
    assert ours.preprocessing == smp.encoders.get_preprocessing_params("mnv2dense-mobilenet_v2")
    assert ours.backbone.mean == (0.485, 0.456, 0.406)


def test_imagenet_weights_of_a_network_that_smp_does_not_publish_are_refused(smp: Any, narrow: str) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=r"encoder_weights='imagenet': narrow .* give encoder_weights=None"):
        smp.Unet(narrow)


def test_grey_and_many_channelled_images_answer_as_the_coloured_one_of_equal_channels(
    smp: Any,  # noqa: ANN401
    tmp_path: Path,
) -> None:
    register_smp_encoder("with-weights", weights=foreign_weights(tmp_path))
    grey = torch.rand(1, 1, 32, 32)
    wanted = smp.encoders.get_encoder("with-weights", depth=1).eval()(grey.expand(-1, 3, -1, -1))[1]
    for count in (1, 6):
        encoder = smp.encoders.get_encoder("with-weights", depth=1, in_channels=count).eval()
        assert encoder.out_channels[0] == count
        torch.testing.assert_close(encoder(grey.expand(-1, count, -1, -1))[1], wanted)


def test_without_weights_the_new_filters_of_another_channel_count_are_random(smp: Any, narrow: str) -> None:  # noqa: ANN401
    filters = smp.encoders.get_encoder(narrow, depth=1, in_channels=6).backbone.stem[0].weight
    assert filters.shape == (16, 6, 3, 3)
    assert not torch.equal(filters[:, :3], filters[:, 3:])


def test_another_output_stride_after_building_is_refused() -> None:
    with pytest.raises(ValueError, match="Give smp's model encoder_output_stride=16"):
        SmpEncoder(width_mult=0.35).make_dilated(16)


def test_a_depth_past_five_is_refused() -> None:
    with pytest.raises(ValueError, match="depth=6 must be 1 to 5"):
        SmpEncoder(depth=6)


def test_smps_own_encoders_are_not_replaced_but_ours_are(smp: Any, narrow: str) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match="choose another, such as 'mnv2dense-mobilenet_v2'"):
        register_smp_encoder("mobilenet_v2")
    register_smp_encoder(narrow, width_mult=0.5)
    assert smp.encoders.get_encoder(narrow).backbone.config["width_mult"] == 0.5


def test_without_smp_the_error_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch.encoders", None)
    with pytest.raises(ImportError, match="pip install 'segmentation-models-pytorch"):
        register_smp_encoder()


# timm


def test_the_page_on_timm_gives_a_list_of_maps() -> None:
    assert [one.shape[1:] for one in run("timm")["maps"]] == [(24, 16, 24), (32, 8, 12), (96, 4, 6), (320, 4, 6)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"out_indices": (1, 3)},
        {"out_indices": (-2, -1)},
        {"out_indices": 3},
        {"output_stride": 16},
        {"output_stride": 8},
    ],
)
def test_feature_info_answers_as_timms(options: dict[str, Any]) -> None:
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("mobilenetv2_050", features_only=True, **options)
    ours = FeatureList(width_mult=0.5, **options)
    for question in ("channels", "reduction"):
        for index in (None, 2, [0, 4]):
            answer = getattr(ours.feature_info, question)(index)
            assert answer == getattr(theirs.feature_info, question)(index)
    columns = ["num_chs", "reduction", "index"]
    for index in (None, 1, [3, 0]):
        assert ours.feature_info.get_dicts(columns, index) == theirs.feature_info.get_dicts(columns, index)
        assert ours.feature_info.get("index", index) == theirs.feature_info.get("index", index)
    assert ours.feature_info.out_indices == theirs.feature_info.out_indices
    assert len(ours.feature_info) == len(theirs.feature_info)
    assert ours.feature_info[3]["num_chs"] == theirs.feature_info[3]["num_chs"]
    images = torch.zeros(1, 3, 64, 32)
    assert [one.shape for one in ours(images)] == [one.shape for one in theirs(images)]


def test_module_names_are_those_that_the_maps_come_out_of() -> None:
    model = FeatureList(width_mult=0.35).eval()
    seen: dict[str, Tensor] = {}
    for name in model.feature_info.module_name():
        model.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    maps = model(torch.rand(1, 3, 32, 32))
    assert all(torch.equal(one, seen[name]) for one, name in zip(maps, model.feature_info.module_name(), strict=True))
    assert model.feature_info.get_dicts()[4].keys() == {"num_chs", "reduction", "module", "index"}


def test_a_list_without_deep_maps_has_no_deep_layers() -> None:
    assert len(FeatureList(width_mult=0.35, out_indices=(0, 1)).backbone.blocks) == 3


@pytest.mark.parametrize("out_indices", [(5,), (-6,), (1, 1), (4, -1), ()])
def test_an_index_of_no_map_is_refused(out_indices: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="each must be one of 0 to 4"):
        FeatureList(out_indices=out_indices)


def test_from_timms_weights_the_maps_and_the_normalisation_are_timms(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("mobilenetv2_050", num_classes=10).eval()
    shuffle_statistics(theirs)
    torch.save(theirs.state_dict(), tmp_path / "timm.pth")
    features = timm.create_model("mobilenetv2_050", features_only=True).eval()
    features.load_state_dict(theirs.state_dict(), strict=False)
    ours = FeatureList(weights=tmp_path / "timm.pth").eval()
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        for mine, wanted in zip(ours(images), features(images), strict=True):
            assert (mine - wanted).abs().max() < 1e-4 * wanted.abs().max()
    assert timm.data.resolve_model_data_config(ours)["mean"] == timm.data.resolve_model_data_config(features)["mean"]


def foreign_weights(folder: Path) -> Path:
    """A torchvision file of random weights at width 0.35."""
    from torchvision.models import mobilenet_v2 as torchvisions

    model = torchvisions(width_mult=0.35, num_classes=10)
    shuffle_statistics(model)
    torch.save(model.state_dict(), folder / "weights.pth")
    return folder / "weights.pth"


# torch's own ways out of Python


@pytest.mark.slow
def test_exported_compiled_scripted_and_traced_backbones_answer_alike() -> None:
    left = run("torch.export, torch.compile, TorchScript")
    more = torch.rand(3, 3, 64, 96)
    with torch.no_grad():
        wanted = left["backbone"](more)
        for way in ("exported", "compiled", "scripted", "traced"):
            found = left[way](more)
            assert list(found) == ["stride8", "last_conv"], way
            for name, tensor in wanted.items():
                torch.testing.assert_close(found[name], tensor, msg=lambda text, way=way: f"{way}: {text}")


@pytest.mark.parametrize("shortcut", ["bottleneck", "expansion"])
@pytest.mark.parametrize("features", [FEATURE_NAMES, ("stride16_expanded", "stride4"), ("stride2",)])
def test_every_kind_of_backbone_can_be_scripted(features: tuple[str, ...], shortcut: Any) -> None:  # noqa: ANN401
    backbone = MobileNetV2(width_mult=0.35, features=features, shortcut=shortcut, padding="tf").eval()
    images = torch.rand(1, 3, 33, 64)
    with torch.no_grad():
        found, wanted = torch.jit.script(backbone)(images), backbone(images)
    assert list(found) == list(wanted) == list(features)
    assert all(torch.equal(found[name], wanted[name]) for name in features)


def test_a_list_of_features_can_be_scripted_and_saved(tmp_path: Path) -> None:
    model = FeatureList(width_mult=0.35, out_indices=(2, 0)).eval()
    torch.jit.save(torch.jit.script(model), tmp_path / "model.pt")
    images = torch.rand(1, 3, 32, 32)
    loaded = torch.jit.load(tmp_path / "model.pt")
    assert all(torch.equal(one, wanted) for one, wanted in zip(loaded(images), model(images), strict=True))
