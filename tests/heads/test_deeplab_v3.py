from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mnv2dense import DeepLabV3Head, deeplabv3_mobilenet_v2
from mnv2dense.costs.complexity import complexity
from mnv2dense.ops.resize import ResizeMode, fit, infos
from mnv2dense.types import FeatureInfo, PixelLogits

DEEP = {"last_bottleneck": FeatureInfo(channels=8, stride=16)}
FINE = {"stride4": FeatureInfo(channels=4, stride=4), **DEEP}


def head(features: dict[str, FeatureInfo] = DEEP, **options: object) -> DeepLabV3Head:
    defaults = {"size": (64, 96), "class_names": ["background", "cat", "dog"], "channels": 16}
    return DeepLabV3Head(features, **(defaults | options)).eval()  # type: ignore[arg-type]


def labels_of(built: DeepLabV3Head, logits: Tensor, original: tuple[int, int], mode: ResizeMode = "squash") -> Tensor:
    size = (64, 96)
    back = infos([1], [original], [fit(*original, size, mode)])
    (found,) = built.selection(PixelLogits(logits, size), back)
    return found.labels


@pytest.mark.parametrize(("aspp", "parameters", "billions"), [(False, 2_113_557, 2.74), (True, 4_523_541, 5.36)])
def test_the_papers_models_have_their_parameters_and_multiply_adds(
    aspp: bool, parameters: int, billions: float
) -> None:
    costs = complexity(deeplabv3_mobilenet_v2(aspp=aspp), (513, 513))
    assert costs.parameters == parameters
    assert round(costs.multiply_adds / 1e9, 2) == billions


@pytest.mark.parametrize(("output_stride", "rates"), [(16, [6, 12, 18]), (8, [12, 24, 36])])
def test_the_dilated_branches_see_as_far_at_any_output_stride(output_stride: int, rates: list[int]) -> None:
    model = deeplabv3_mobilenet_v2(aspp=True, width_mult=0.35, output_stride=output_stride)
    assert [branch[0].dilation[0] for branch in model.head.branches][1:] == rates  # type: ignore[index, union-attr]


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("original", [(64, 96), (61, 200), (300, 40), (1, 5000), (1, 1)])
def test_squashed_images_get_the_classes_of_their_upsampled_logits(
    align_corners: bool, original: tuple[int, int]
) -> None:
    logits = torch.randn(1, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    found = labels_of(head(align_corners=align_corners), logits, original)
    assert found.shape == original
    assert found.dtype == torch.uint8
    # The same through grid_sample, which knows nothing of our tables.
    y = (torch.arange(original[0]) + 0.5) / original[0] * 2 - 1
    x = (torch.arange(original[1]) + 0.5) / original[1] * 2 - 1
    if align_corners:  # corner pixels of the 64 x 96 input lie on corner cells
        y, x = y * 64 / 63, x * 96 / 95
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)[None]
    sampled = F.grid_sample(logits, grid, mode="bilinear", padding_mode="border", align_corners=align_corners)
    assert (sampled.argmax(dim=1)[0] == found).float().mean() > 0.999


def test_the_input_of_its_own_size_equals_plain_interpolation() -> None:
    logits = torch.randn(1, 3, 5, 7, generator=torch.Generator().manual_seed(1))
    for align_corners in (False, True):
        up = F.interpolate(logits, (64, 96), mode="bilinear", align_corners=align_corners)
        found = labels_of(head(align_corners=align_corners), logits, (64, 96))
        assert (up.argmax(dim=1)[0] == found).float().mean() > 0.999


def test_the_border_of_a_letterbox_is_cut_off() -> None:
    # 32 x 96 fills the width of 64 x 96; 16 rows above and below are border. There the logits say dog.
    logits = torch.zeros(1, 3, 64, 96)
    logits[:, 2] = 1
    logits[:, 2, 16:48], logits[:, 1, 16:48] = 0, 1
    found = labels_of(head(), logits, (32, 96), "letterbox")
    assert (found == 1).all()


def test_pooling_at_a_batch_of_one_is_defined_in_training() -> None:
    built = head().train()
    before = {name: value.clone() for name, value in built.pooling.state_dict().items()}
    raw = built({"last_bottleneck": torch.randn(1, 8, 4, 6)}, (64, 96))
    raw.sum().backward()
    assert raw.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in built.parameters())
    # One value has no variance: the running statistics stand in and are left as they are.
    assert all(torch.equal(before[name], value) for name, value in built.pooling.state_dict().items())
    built({"last_bottleneck": torch.randn(2, 8, 4, 6)}, (64, 96))
    assert not torch.equal(before["1.running_mean"], built.pooling.state_dict()["1.running_mean"])


def test_the_decoder_answers_at_the_fine_maps_resolution() -> None:
    built = head(FINE)
    raw = built({"stride4": torch.randn(2, 4, 16, 24), "last_bottleneck": torch.randn(2, 8, 4, 6)}, (64, 96))
    assert raw.shape == (2, 3, 16, 24)


@pytest.mark.parametrize("decoder", [False, True])
def test_its_config_builds_it_again(decoder: bool) -> None:
    built = head(FINE if decoder else DEEP, aspp=True, palette=[[0, 0, 0], [1, 2, 3], [4, 5, 6]])
    options = {k: v for k, v in built.config.items() if k not in ("_target_", "features")}
    again = DeepLabV3Head(FINE if decoder else DEEP, size=(64, 96), class_names=built.class_names, **options)
    again.load_state_dict(built.state_dict())
    assert again.palette == ((0, 0, 0), (1, 2, 3), (4, 5, 6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": []}, "a mask has 1 to 255 classes"),
        ({"class_names": [str(k) for k in range(256)]}, "256 class_names"),
        ({"palette": [[0, 0, 0]]}, "palette has 1 colours for 3 classes"),
        ({"dropout": 1.0}, "dropout=1.0"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        head(**options)


def test_features_come_finer_first() -> None:
    with pytest.raises(ValueError, match=r"a fine and a deep one in this order; got \['last_bottleneck', 'stride4'\]"):
        head({"last_bottleneck": DEEP["last_bottleneck"], "stride4": FINE["stride4"]})


def test_twenty_one_classes_without_names_are_vocs() -> None:
    model = deeplabv3_mobilenet_v2(width_mult=0.35)
    assert model.class_names[:2] == ("background", "aeroplane")
    assert model.head.palette[1] == (128, 0, 0)  # type: ignore[index]
    assert deeplabv3_mobilenet_v2(2, width_mult=0.35).class_names == ("0", "1")
