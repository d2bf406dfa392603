"""MobileNetV1, against the figures of its own paper, of TensorFlow's table and of MobileNetV2's tables 4, 6 and 7."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mnv2dense import DenseModel, MobileNetV1
from mnv2dense.backbones.layout import FEATURE_NAMES
from mnv2dense.backbones.mobilenet_v1 import layout
from mnv2dense.costs.complexity import Complexity, complexity
from mnv2dense.models.dense_model import build_model
from mnv2dense.types import FeatureInfo
from tests.helpers.peers import randomised


def model_of(head: str, features: list[str], classes: int, side: int, **backbone: object) -> DenseModel:
    return build_model(
        {
            "size": [side, side],
            "class_names": [str(label) for label in range(classes)],
            "backbone": {"_target_": "mnv2dense.backbones.MobileNetV1", **backbone},
            "head": {"_target_": f"mnv2dense.heads.{head}", "features": features},
        }
    )


def classifier_costs(width_mult: float, *, classes: int = 1000, side: int = 224, **options: object) -> Complexity:
    model = model_of("ClassifierHead", ["last_conv"], classes, side, width_mult=width_mult, **options)
    return complexity(model, (side, side))


# Width -> parameters with 1000 classes; millions of multiply-adds by input side (the paper's tables 6 and 7).
OF_ITS_PAPER = {
    1.0: (4_231_976, {224: 569, 192: 418, 160: 290, 128: 186}),
    0.75: (2_585_560, {224: 325}),
    0.5: (1_331_592, {224: 149}),
    0.25: (470_072, {224: 41}),
}


@pytest.mark.parametrize("width_mult", OF_ITS_PAPER)
def test_parameters_and_multiply_adds_are_the_papers(width_mult: float) -> None:
    parameters, millions = OF_ITS_PAPER[width_mult]
    for side, wanted in millions.items():
        costs = classifier_costs(width_mult, side=side)
        assert costs.parameters == parameters
        assert costs.multiply_adds == pytest.approx(wanted * 1e6, abs=1e6), side


@pytest.mark.parametrize(("width_mult", "millions"), [(1.0, 4.24), (0.75, 2.59), (0.5, 1.34), (0.25, 0.47)])
def test_tensorflows_table_of_parameters_counts_three_numbers_for_each_channel_of_a_batch_norm(
    width_mult: float, millions: float
) -> None:
    """Two are trained, which gives 4.23 at width 1.0; with four, which a batch norm stores, it would be 4.25."""
    costs = classifier_costs(width_mult, classes=1001)  # with the background
    assert round((costs.parameters + costs.norm_parameters // 2) / 1e6, 2) == millions
    assert costs.norm_parameters // 2 == sum(
        m.num_features for m in MobileNetV1(width_mult=width_mult).modules() if isinstance(m, nn.BatchNorm2d)
    )


def test_the_575_million_of_mobilenet_v2s_table_4_are_not_reached_by_products_alone() -> None:
    """These are 569, as its own paper says; with an operation for each value that is normalised they are 574."""
    costs = classifier_costs(1.0)
    normalised = sum(layer.output_bytes // 4 for layer in costs.layers if layer.name.startswith("backbone"))
    assert round(costs.multiply_adds / 1e6, 1) == 568.7
    assert round((costs.multiply_adds + normalised) / 1e6, 1) == 573.8


def test_ssdlite_on_it_costs_what_table_6_says() -> None:
    costs = complexity(model_of("SSDLiteHead", ["stride16_expanded", "last_conv"], 80, 320), (320, 320))
    assert costs.parameters == 5_100_661  # 5.1M
    assert costs.multiply_adds == pytest.approx(1.309e9, abs=0.5e6)  # 1.3B


def test_deeplab_on_it_has_table_7s_parameters_and_its_multiply_adds_as_tensorflow_pads_atrous_convolutions() -> None:
    model = model_of("DeepLabV3Head", ["last_bottleneck"], 21, 513, output_stride=16)
    model = build_model({**model.config, "head": {**model.config["head"], "aspp": True}})
    costs = complexity(model, (513, 513))
    assert costs.parameters == 11_145_301  # 11.15M
    assert costs.multiply_adds == pytest.approx(12.761e9, abs=0.5e6)
    # The table's 14.25B: TensorFlow cuts a map of 33x33 into batches by rates 6, 12 and 18, for which it grows to
    # 36x36, and filters the zeros too.
    padded = 3 * 9 * 1024 * 256 * (36**2 - 33**2)
    assert costs.multiply_adds + padded == pytest.approx(14.25e9, rel=2e-3)


def test_timms_variants_have_its_parameters() -> None:
    assert classifier_costs(1.0, head_conv=True, side=64).parameters == 5_282_600  # mobilenetv1_100h, 5.28M
    assert classifier_costs(1.25, side=64).parameters == 6_270_840  # mobilenetv1_125, 6.27M


def test_the_paper_has_thirteen_blocks() -> None:
    plan = layout()
    assert (plan.stem_channels, len(plan.blocks), plan.head_channels) == (32, 13, 0)
    assert plan.blocks[0] == (32, 64, 1)
    assert plan.blocks[11] == (512, 1024, 2)
    assert plan.blocks[12] == (1024, 1024, 1)


def test_channels_are_cut_to_whole_numbers_and_at_least_8() -> None:
    assert layout(width_mult=0.35).stem_channels == 11  # 11.2
    assert layout(width_mult=0.35).blocks[0].out_channels == 22  # 22.4; MobileNetV2's rule would give 24
    assert layout(width_mult=0.1).stem_channels == 8  # 3.2


def test_features_have_the_papers_channels_and_strides() -> None:
    assert MobileNetV1(features=FEATURE_NAMES).feature_info == {
        "stride2": FeatureInfo(64, 2),
        "stride4": FeatureInfo(128, 4),
        "stride8": FeatureInfo(256, 8),
        "stride16": FeatureInfo(512, 16),
        "stride16_expanded": FeatureInfo(512, 16),
        "last_bottleneck": FeatureInfo(1024, 32),
        "last_conv": FeatureInfo(1024, 32),
    }


def test_names_of_one_place_are_one_tensor() -> None:
    found = MobileNetV1(width_mult=0.25, features=FEATURE_NAMES).eval()(torch.rand(1, 3, 64, 64))
    assert found["stride16"] is found["stride16_expanded"]
    assert found["last_bottleneck"] is found["last_conv"]


def test_a_head_convolution_is_the_last_conv_and_follows_the_last_bottleneck() -> None:
    model = MobileNetV1(width_mult=0.25, head_conv=True, features=("last_bottleneck", "last_conv")).eval()
    assert model.feature_info == {"last_bottleneck": FeatureInfo(256, 32), "last_conv": FeatureInfo(1024, 32)}
    found = model(torch.rand(1, 3, 64, 64))
    assert {name: tensor.shape[1] for name, tensor in found.items()} == {"last_bottleneck": 256, "last_conv": 1024}
    assert MobileNetV1(width_mult=0.25, head_conv=True, features=("last_bottleneck",)).last_conv is None


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("padding", ["torch", "tf"])
@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
def test_every_feature_comes_out_as_feature_info_promises(
    output_stride: int, padding: str, size: tuple[int, int]
) -> None:
    model = MobileNetV1(width_mult=0.25, output_stride=output_stride, padding=padding, features=FEATURE_NAMES).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        features = model(torch.rand(2, 3, *size))
    assert tuple(features) == FEATURE_NAMES
    for name, (channels, stride) in model.feature_info.items():
        assert features[name].shape == (2, channels, -(-size[0] // stride), -(-size[1] // stride)), name


@pytest.mark.parametrize("name", FEATURE_NAMES)
def test_a_shallow_backbone_gives_the_deep_ones_feature_and_has_no_layer_past_it(name: str) -> None:
    deep = randomised(MobileNetV1(width_mult=0.25, features=FEATURE_NAMES))
    shallow = MobileNetV1(width_mult=0.25, features=[name]).eval()
    shallow.load_state_dict({key: deep.state_dict()[key] for key in shallow.state_dict()})
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(shallow(images)[name], deep(images)[name])
    shallow.train()(torch.rand(2, 3, 64, 64))[name].sum().backward()
    assert all(p.grad is not None for p in shallow.parameters()), "a layer past the feature was built"


def test_dilation_keeps_what_the_strides_saw() -> None:
    """A dilated network computes the strided one's output at every position, so sampling it gives that back."""
    strided = randomised(MobileNetV1(width_mult=0.25))
    dilated = MobileNetV1(width_mult=0.25, output_stride=16).eval()
    dilated.load_state_dict(strided.state_dict())
    images = torch.rand(1, 3, 192, 192)
    with torch.no_grad():
        coarse, fine = strided(images)["last_conv"], dilated(images)["last_conv"]
    # Borders differ: dilated padding reaches further. The middle must agree.
    torch.testing.assert_close(fine[:, :, 4:8:2, 4:8:2], coarse[:, :, 2:4, 2:4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width_mult": 0.0}, r"width_mult=0.0 must be positive, and at most 16; the paper's are 0.25, 0.5, 0.75, 1.0"),
        ({"width_mult": "wide"}, "width_mult='wide' must be a number"),
        ({"output_stride": 4}, "output_stride=4 must be one of 8, 16, 32"),
        ({"padding": "same"}, "padding='same' must be"),
        ({"head_conv": "no"}, "head_conv='no' must be one of True, False"),
        ({"norm_eps": 0}, "norm_eps=0 must be above 0"),
        ({"features": ["stride5"]}, "must be one of stride2, stride4"),
        ({"mean": (0.5,)}, "mean=.* must have three values"),
    ],
)
def test_a_wrong_option_is_named_with_its_rule(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MobileNetV1(**options)  # type: ignore[arg-type]
