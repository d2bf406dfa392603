"""Inference in groups: the same results in less memory."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from mnv2dense import DenseModel, MobileNetV2, Predictor, mobilenet_v2_classifier
from mnv2dense.costs.complexity import complexity
from mnv2dense.models.split import SplitMobileNetV2, memory_bound, split_inference
from tests.helpers.tiny import SIZE, random_images, tiny_model

EVERY_T = [1, 2, 3, 4, 5, 6, 7, 100, "auto"]
ALL_FEATURES = ("last_conv", "stride2", "stride4", "stride8", "stride16_expanded", "stride16", "last_bottleneck")


def shaken(model: nn.Module) -> nn.Module:
    """In eval mode, with batch norms that have seen something."""
    torch.manual_seed(0)
    for name, tensor in [*model.named_buffers(), *model.named_parameters()]:
        if name.endswith("running_mean") or name.endswith("1.bias"):
            tensor.data.normal_(std=0.3)
        elif name.endswith("running_var") or name.endswith("1.weight"):
            tensor.data.uniform_(0.5, 1.5)
    return model.eval()


def backbone(**options: object) -> MobileNetV2:
    model = shaken(MobileNetV2(**{"width_mult": 0.35, "features": ALL_FEATURES, **options}))  # type: ignore[arg-type]
    assert isinstance(model, MobileNetV2)
    return model


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    """Largest difference, as a share of the largest value: groups change the order of sums and no more."""
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def assert_same_features(model: MobileNetV2, images: Tensor, t: object, **options: object) -> None:
    split = split_inference(model, t, **options)  # type: ignore[call-overload]
    with torch.no_grad():
        ours, theirs = split(images), model(images)
    assert list(ours) == list(theirs)
    for name in theirs:
        assert_close(ours[name], theirs[name])


@pytest.mark.parametrize("t", EVERY_T)
@pytest.mark.parametrize("padding", ["torch", "tf"])
def test_every_feature_is_the_same_however_many_groups(t: object, padding: str) -> None:
    images = torch.randn(2, 3, 96, 64)
    assert_same_features(backbone(padding=padding), images, t, size=(96, 64))


@pytest.mark.parametrize("padding", ["torch", "tf"])
@pytest.mark.parametrize("size", [(65, 97), (64, 97), (65, 64), (33, 47), (2, 3)])
def test_odd_sizes_are_padded_as_ever(size: tuple[int, int], padding: str) -> None:
    assert_same_features(backbone(padding=padding), torch.randn(1, 3, *size), 3)


@pytest.mark.parametrize(
    "options",
    [
        {"output_stride": 8},
        {"output_stride": 16, "padding": "tf"},
        {"bottleneck": "relu6"},
        {"shortcut": "none"},
        {"expansion": 1},
        {"expansion": 3},
        {"width_mult": 0.1},  # its first block has a shortcut
        {"depth_mult": 1.2},  # and here a block without expansion follows it
        {"features": ("stride2",)},
        {"features": ("stride16_expanded",)},
        {"features": ("stride4", "stride16_expanded")},
    ],
    ids=str,
)
def test_every_option_of_the_backbone_can_be_cut(options: dict[str, object]) -> None:
    for t in (1, 3, "auto"):
        assert_same_features(backbone(**options), torch.randn(1, 3, 64, 80), t, size=(64, 80))


def test_shortcuts_between_expansions_are_refused() -> None:
    with pytest.raises(ValueError, match="shortcut='expansion' adds the expanded tensors"):
        split_inference(backbone(shortcut="expansion"), 2)


@pytest.mark.parametrize("t", [0, -1, 2.5, True, "most"])
def test_a_wrong_number_of_groups_is_refused(t: object) -> None:
    with pytest.raises(ValueError, match="a whole number of groups, 1 or more, or 'auto'"):
        split_inference(backbone(), t)  # type: ignore[call-overload]


def test_what_cannot_be_cut_is_refused() -> None:
    model = backbone()
    with pytest.raises(ValueError, match="cut into groups already; give the original"):
        split_inference(split_inference(model, 2), 2)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="Linear cannot be cut into groups: give a MobileNetV2"):
        split_inference(nn.Linear(1, 1), 2)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="give size="):
        split_inference(model, "auto")
    with pytest.raises(ValueError, match="slack=0 must be positive"):
        split_inference(model, "auto", slack=0, size=SIZE)


@pytest.fixture(scope="module")
def detector() -> DenseModel:
    return tiny_model()


@pytest.mark.parametrize("t", [2, 5, "auto"])
def test_a_detector_says_the_same_in_groups(detector: DenseModel, t: object) -> None:
    images = random_images()
    split = split_inference(detector, t)  # type: ignore[call-overload]
    with torch.no_grad():
        for ours, theirs in zip(split(images), detector(images), strict=True):
            assert_close(ours, theirs)


def test_the_given_model_stays_as_it_is(detector: DenseModel) -> None:
    detector.train()
    try:
        split = split_inference(detector, 2)
        assert detector.training
        assert not split.training
        assert any(isinstance(module, nn.BatchNorm2d) for module in detector.backbone.modules())
        assert isinstance(split.backbone, SplitMobileNetV2)
        assert split.backbone.feature_info == detector.backbone.feature_info
    finally:
        detector.eval()


def test_a_predictor_runs_it_in_the_memory_promised(detector: DenseModel) -> None:
    image = random_images(1, (120, 90))[0]
    split = split_inference(detector, 3)
    plain, cut = Predictor(detector, device="cpu")(image), Predictor(split, device="cpu")(image)
    assert len(plain) > 0
    torch.testing.assert_close(cut.scores, plain.scores)
    torch.testing.assert_close(cut.boxes, plain.boxes, rtol=1e-4, atol=1e-3)
    kept = Predictor(split, device="cpu").model
    assert complexity(kept, SIZE).peak_activation_bytes == complexity(split, SIZE).peak_activation_bytes


@pytest.mark.slow
def test_it_exports_for_any_batch_and_traces(detector: DenseModel) -> None:
    split = split_inference(detector, 3)
    images, more = random_images(2), random_images(3)
    dynamic = ({0: torch.export.Dim("batch", min=1, max=16)},)
    with torch.no_grad():
        exported = torch.export.export(split, (images,), dynamic_shapes=dynamic).module()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns of every shape that it takes as fixed
            traced = torch.jit.trace(split.backbone, images, strict=False)
        for ours, theirs in zip(exported(more), split(more), strict=True):
            torch.testing.assert_close(ours, theirs)
        features = split.backbone(images)
        for name, feature in traced(images).items():
            torch.testing.assert_close(feature, features[name])


# --- memory ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def classifier() -> DenseModel:
    return mobilenet_v2_classifier().eval()


def test_the_bound_of_the_papers_network_is_the_block_that_leaves_the_largest_map(classifier: DenseModel) -> None:
    bound = 2 * (16 * 112 * 112 + 24 * 56 * 56)
    assert memory_bound(classifier, dtype=torch.float16) == bound == 551_936
    assert memory_bound(classifier) == 2 * bound
    assert memory_bound(MobileNetV2(), (224, 224)) == 2 * bound


INNER = 2 * 96 * (112 * 112 + 56 * 56)
"""Bytes of block 1's inner tensors, before and after its depthwise convolution."""


@pytest.mark.parametrize("t", [2, 3, 4, 6])
def test_the_peak_is_the_bound_and_one_group(classifier: DenseModel, t: int) -> None:
    """Nothing beside the paper's formula is alive: block 1's input and output, and 1/t of what is inside."""
    peak = complexity(split_inference(classifier, t), (224, 224), dtype=torch.float16).peak_activation_bytes
    assert peak == 551_936 + INNER // t


@pytest.mark.parametrize("t", [8, 24, 96, 1000])
def test_a_channel_at_a_time_comes_within_six_percent_of_the_bound(t: int) -> None:
    early = split_inference(MobileNetV2(features=("stride4",)), t)  # where the peak is
    peak = complexity(early, (224, 224), dtype=torch.float16).peak_activation_bytes
    assert peak == 551_936 + INNER // min(t, 96)
    assert t < 96 or peak < 1.06 * 551_936


@pytest.mark.parametrize("slack", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("padding", ["torch", "tf"])
def test_auto_keeps_the_peak_within_the_slack(slack: float, padding: str) -> None:
    for features in (("last_conv",), ("stride4", "stride8", "stride16_expanded", "last_bottleneck")):
        for size in ((224, 224), (160, 288)):
            model = MobileNetV2(features=features, padding=padding)  # type: ignore[arg-type]
            split = split_inference(model, "auto", slack=slack, size=size)
            bound = memory_bound(model, size)
            assert bound < complexity(split, size).peak_activation_bytes <= (1 + slack) * bound


def test_auto_cuts_only_where_it_has_to(classifier: DenseModel) -> None:
    backbone = split_inference(classifier).backbone
    assert isinstance(backbone, SplitMobileNetV2)
    assert max(backbone.groups) == backbone.groups[1] == 12
    assert set(backbone.groups[4:]) == {1}


def test_a_detector_and_a_dilated_backbone_need_less_too() -> None:
    detector = tiny_model(size=(160, 160))
    dilated = MobileNetV2(output_stride=8, features=("last_bottleneck",))
    for model, size in ((detector, (160, 160)), (dilated, (129, 129))):
        plain, cut = complexity(model, size), complexity(split_inference(model, 6), size)  # type: ignore[call-overload]
        assert cut.peak_activation_bytes < 0.5 * plain.peak_activation_bytes
        # Neighbouring strips of the stem share a few rows, which are computed twice.
        assert plain.multiply_adds <= cut.multiply_adds < 1.03 * plain.multiply_adds
        assert sum(layer.multiply_adds for layer in cut.layers) == cut.multiply_adds
