"""Blocks in groups as convolutions, which files are made of: the same results, group after group."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mnv2dense import MobileNetV2
from mnv2dense.models.split import SplitMobileNetV2, split_inference
from tests.helpers.tiny import random_images, tiny_model
from tests.models.test_split import assert_same_features, backbone


@pytest.mark.parametrize("t", [1, 5, "auto"])
@pytest.mark.parametrize("padding", ["torch", "tf"])
@pytest.mark.parametrize("size", [(64, 96), (33, 47)])
def test_every_feature_is_the_same(t: object, padding: str, size: tuple[int, int]) -> None:
    assert_same_features(backbone(padding=padding), torch.randn(2, 3, *size), t, size=size, convolutions=True)


@pytest.mark.parametrize(
    "options",
    [
        {"output_stride": 8},
        {"bottleneck": "relu6"},
        {"shortcut": "none"},
        {"expansion": 1},
        {"width_mult": 0.1},  # its first block has a shortcut
        {"depth_mult": 1.2},  # and here a block without expansion follows it
        {"features": ("stride16_expanded",)},
        {"features": ("stride4", "stride16_expanded")},
    ],
    ids=str,
)
def test_every_option_of_the_backbone_can_be_cut(options: dict[str, object]) -> None:
    assert_same_features(backbone(**options), torch.randn(1, 3, 64, 80), 3, convolutions=True)


def test_a_group_is_gone_before_the_next_is_made() -> None:
    """Block 1 has 48 inner channels: expansion, filter, projection and sum of each 16 follow each other."""
    split = split_inference(MobileNetV2(width_mult=0.35, features=("stride4",)), 3, convolutions=True)
    program = torch.export.export(split, (torch.randn(1, 3, 32, 32),))
    stem = 3 * 3  # convolutions of three strips
    names = [str(node.target) for node in program.graph.nodes]
    kinds = [name.split(".")[1] for name in names if name.startswith(("aten.conv2d", "aten.add"))]
    group = ["conv2d"] * 3
    assert kinds[stem : stem + 11] == [*group, *group, "add", *group, "add"]


def test_a_block_that_is_not_cut_keeps_its_layers_names() -> None:
    detector = tiny_model(size=(160, 160))
    split = split_inference(detector, convolutions=True)
    assert isinstance(split.backbone, SplitMobileNetV2)
    whole = [index for index, count in enumerate(split.backbone.groups) if count == 1 and index != 13]
    assert len(whole) > 5
    names = {name for name, module in split.named_modules() if isinstance(module, nn.Conv2d)}
    for index in whole:
        assert f"backbone.blocks.{index}.depthwise.0" in names
    with torch.no_grad():
        for ours, theirs in zip(
            split(random_images(1, (160, 160))), detector(random_images(1, (160, 160))), strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
