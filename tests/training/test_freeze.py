from __future__ import annotations

import pytest
from torch import nn

from mnv2dense.backbones.mobilenet_v2 import MobileNetV2
from mnv2dense.training.freeze import freeze


def learns(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def test_a_number_freezes_the_stem_and_that_many_blocks() -> None:
    backbone = MobileNetV2(width_mult=0.35, features=("stride8",))
    freeze(backbone, 2)
    assert not learns(backbone.stem)
    assert [learns(block) for block in backbone.blocks][:4] == [False, False, True, True]


def test_a_backbone_without_blocks_is_frozen_whole_or_not_at_all() -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(
        ValueError, match=r"backbone=2: a number counts .* Sequential does not have both; backbone=true"
    ):
        freeze(backbone, 2)
    assert learns(backbone)
    assert freeze(backbone, True) == [backbone]
    assert not learns(backbone)
