from __future__ import annotations

import pytest
import torch

import mnv2dense
from mnv2dense.backbones.layout import FEATURE_NAMES, scaled_channels
from mnv2dense.backbones.mobilenet_v2 import MobileNetV2
from mnv2dense.models.backbone import mobilenet_v2
from mnv2dense.types import FeatureInfo


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("width_mult", "published"), [(1.0, 3_504_872), (1.4, 6_108_776)])
def test_with_a_classifier_of_1000_classes_it_has_the_published_parameters(width_mult: float, published: int) -> None:
    model = MobileNetV2(width_mult=width_mult)
    channels = model.feature_info["last_conv"].channels
    assert parameters(model) + (channels + 1) * 1000 == published


def test_channels_round_to_multiples_of_8_and_never_fall_by_more_than_a_tenth() -> None:
    assert scaled_channels(32, 0.75) == 24
    assert scaled_channels(24, 0.35) == 8
    assert scaled_channels(16, 1.4) == 24  # 22.4
    assert scaled_channels(24, 0.5) == 16  # 12 would round to 8 in some versions; 8 is less than 90% of 12


def test_the_last_convolution_is_not_narrowed_below_width_one() -> None:
    assert MobileNetV2(width_mult=0.35).feature_info["last_conv"].channels == 1280
    assert MobileNetV2(width_mult=1.4).feature_info["last_conv"].channels == 1792


def test_features_have_the_papers_channels_and_strides() -> None:
    assert MobileNetV2(features=FEATURE_NAMES).feature_info == {
        "stride2": FeatureInfo(16, 2),
        "stride4": FeatureInfo(24, 4),
        "stride8": FeatureInfo(32, 8),
        "stride16": FeatureInfo(96, 16),
        "stride16_expanded": FeatureInfo(576, 16),
        "last_bottleneck": FeatureInfo(320, 32),
        "last_conv": FeatureInfo(1280, 32),
    }


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("padding", ["torch", "tf"])
@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
def test_every_feature_comes_out_as_feature_info_promises(
    output_stride: int, padding: str, size: tuple[int, int]
) -> None:
    model = MobileNetV2(output_stride=output_stride, padding=padding, features=FEATURE_NAMES).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        features = model(torch.rand(2, 3, *size))
    assert tuple(features) == FEATURE_NAMES
    for name, (channels, stride) in model.feature_info.items():
        assert features[name].shape == (2, channels, -(-size[0] // stride), -(-size[1] // stride)), name


@pytest.mark.parametrize("name", FEATURE_NAMES)
def test_a_shallow_backbone_gives_the_deep_ones_feature_and_has_no_layer_past_it(name: str) -> None:
    torch.manual_seed(0)
    deep = MobileNetV2(features=FEATURE_NAMES).eval()
    shallow = MobileNetV2(features=[name]).eval()
    own = shallow.state_dict()
    shallow.load_state_dict({key: deep.state_dict()[key] for key in own})
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(shallow(images)[name], deep(images)[name])
    shallow.train()(torch.rand(2, 3, 64, 64))[name].sum().backward()
    assert all(p.grad is not None for p in shallow.parameters()), "a layer past the feature was built"


def test_features_come_in_the_order_asked_for() -> None:
    model = MobileNetV2(features=("last_conv", "stride4")).eval()
    assert list(model(torch.rand(1, 3, 32, 32))) == ["last_conv", "stride4"] == list(model.feature_info)


def test_dilation_keeps_what_the_strides_saw() -> None:
    """A dilated network computes the strided one's output at every position, so sampling it gives that back."""
    torch.manual_seed(0)
    strided = MobileNetV2(features=("last_bottleneck",)).eval()
    dilated = MobileNetV2(features=("last_bottleneck",), output_stride=16).eval()
    dilated.load_state_dict(strided.state_dict())
    images = torch.rand(1, 3, 256, 256)
    with torch.no_grad():
        coarse, fine = strided(images)["last_bottleneck"], dilated(images)["last_bottleneck"]
    # Borders differ: dilated padding reaches further. The middle must agree.
    torch.testing.assert_close(fine[:, :, 6:10:2, 6:10:2], coarse[:, :, 3:5, 3:5], rtol=1e-4, atol=1e-5)


def test_tf_padding_puts_the_odd_pixel_at_the_end() -> None:
    model = MobileNetV2(padding="tf", features=("stride2",))
    convolution = model.stem[0]
    torch.nn.init.zeros_(convolution.weight)
    convolution.weight.data[:, :, 0, 0] = 1  # the top left tap
    images = torch.zeros(1, 3, 4, 4)
    images[:, :, 0, 0] = 1
    out = convolution(images)[0, 0]
    assert out.tolist() == [[3.0, 0.0], [0.0, 0.0]]  # symmetric padding would have this tap see padding there


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width_mult": 0.0}, "width_mult=0.0 must be positive"),
        ({"output_stride": 4}, "output_stride=4 must be one of 8, 16, 32"),
        ({"padding": "same"}, "padding='same' must be"),
        ({"features": ["stride5"]}, "must be one of stride2, stride4"),
        ({"features": ["stride4", "stride4"]}, "named once"),
        ({"features": "stride4"}, "non-empty list"),
        ({"mean": (0.5,)}, "mean=.* must have three values"),
    ],
)
def test_a_wrong_option_is_named_with_its_rule(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MobileNetV2(**options)  # type: ignore[arg-type]


def test_its_config_rebuilds_it() -> None:
    model = mobilenet_v2(width_mult=0.5, output_stride=16, features=("stride8",), padding="tf", norm_eps=0.01)
    options = {key: value for key, value in model.config.items() if key != "_target_"}
    again = MobileNetV2(features=("stride8",), **options)
    again.load_state_dict(model.state_dict())
    assert again.config == model.config


def test_a_relu6_bottleneck_clips_what_a_linear_one_lets_through() -> None:
    features = {}
    for bottleneck in ("linear", "relu6"):
        torch.manual_seed(0)
        model = MobileNetV2(width_mult=0.35, features=["last_bottleneck"], bottleneck=bottleneck)  # type: ignore[arg-type]
        features[bottleneck] = model.train()(torch.rand(2, 3, 64, 64))["last_bottleneck"]
    assert features["linear"].min() < 0
    assert features["relu6"].min() == 0  # the last block has no shortcut that could add anything


def test_the_ablations_change_no_parameter_but_the_answer() -> None:
    images = torch.rand(2, 3, 64, 64)
    answers, names = [], []
    for shortcut in ("bottleneck", "expansion", "none"):
        torch.manual_seed(0)
        model = MobileNetV2(width_mult=0.35, shortcut=shortcut).train()  # type: ignore[arg-type]
        answers.append(model(images)["last_conv"])
        names.append({name: p.shape for name, p in model.named_parameters()})
    assert names[0] == names[1] == names[2]
    assert not torch.allclose(answers[0], answers[1])
    assert not torch.allclose(answers[0], answers[2])
    assert not torch.allclose(answers[1], answers[2])


def test_a_shortcut_between_expansions_adds_the_expanded_tensor_of_the_block_before() -> None:
    torch.manual_seed(0)
    model = MobileNetV2(width_mult=0.35, features=["stride8"], shortcut="expansion").eval()
    images = torch.rand(1, 3, 64, 64)
    x, before = model.stem(images), None
    for block in model.blocks:
        expanded = block.expansion(x)  # type: ignore[operator]
        if before is not None and before.shape == expanded.shape:
            expanded = expanded + before
        x, before = block.projection(block.depthwise(expanded)), expanded  # type: ignore[operator]
    torch.testing.assert_close(model(images)["stride8"], x)


@pytest.mark.parametrize("expansion", [1, 3, 6])
def test_the_expansion_factor_widens_every_block_but_the_first(expansion: int) -> None:
    model = MobileNetV2(width_mult=0.35, expansion=expansion, features=["stride16_expanded", "last_conv"])
    block = model.blocks[1]
    assert block.depthwise[0].in_channels == 8 * expansion  # type: ignore[index, union-attr]
    assert model.feature_info["stride16_expanded"].channels == 32 * expansion
    assert model.eval()(torch.rand(1, 3, 64, 64))["last_conv"].shape == (1, 1280, 2, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bottleneck": "swish"}, "bottleneck='swish' must be one of 'linear', 'relu6'"),
        ({"shortcut": "all"}, "shortcut='all' must be one of"),
        ({"expansion": 0}, "expansion=0 must be a whole number"),
        ({"depth_mult": 0.5}, "depth_mult=0.5 must be at least 1"),
    ],
)
def test_an_ablation_that_does_not_exist_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MobileNetV2(**options)  # type: ignore[arg-type]


def test_images_that_were_not_normalised_are_refused_with_the_line_that_does_it() -> None:
    backbone = MobileNetV2(width_mult=0.35, features=("stride8",)).eval()
    images = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    with pytest.raises(TypeError, match=r"mnv2dense\.Normalize\(backbone\.mean, backbone\.std\)\(images\)"):
        backbone(images)
    normalised = mnv2dense.Normalize(backbone.mean, backbone.std)(images)
    assert normalised.unique().tolist() == [1.0]
    assert backbone(normalised)["stride8"].shape == (1, 16, 4, 4)


def test_the_backbone_can_be_traced_symbolically() -> None:
    backbone = MobileNetV2(width_mult=0.35, features=("stride4", "stride8")).eval()
    images = torch.rand(1, 3, 32, 32)
    assert torch.fx.symbolic_trace(backbone)(images)["stride8"].equal(backbone(images)["stride8"])
