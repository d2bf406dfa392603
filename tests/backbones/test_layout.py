from __future__ import annotations

import pytest

from mnv2dense.backbones.layout import layout, width_and_depth


def test_the_paper_has_seventeen_blocks_and_its_features_where_they_end() -> None:
    plan = layout()
    assert len(plan.blocks) == 17
    assert (plan.stem_channels, plan.last_channels) == (32, 1280)
    assert plan.blocks[0] == (1, 32, 16, 1)
    assert plan.blocks[1] == (6, 16, 24, 2)
    assert plan.blocks[16] == (6, 160, 320, 1)
    assert plan.block_of_feature == {
        "stride2": 0,
        "stride4": 2,
        "stride8": 5,
        "stride16": 12,
        "stride16_expanded": 13,
        "last_bottleneck": 16,
    }


def test_below_width_one_the_last_convolution_keeps_its_channels() -> None:
    assert layout(width_mult=0.35).last_channels == 1280
    assert layout(width_mult=1.4).last_channels == 1792


def test_depth_multiplies_the_blocks_of_a_stage_rounded_up() -> None:
    deeper = layout(width_mult=1.1, depth_mult=1.2, scale_ends=False)
    # 1, ceil(2.4), ceil(3.6), ceil(4.8), ceil(3.6), ceil(3.6), 1
    assert len(deeper.blocks) == 1 + 3 + 4 + 5 + 4 + 4 + 1
    assert (deeper.stem_channels, deeper.last_channels) == (32, 1280)


@pytest.mark.parametrize("width", [0.1, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4, 2.0])
@pytest.mark.parametrize("depth", [1.0, 1.2, 1.4])
@pytest.mark.parametrize("scale_ends", [True, False])
def test_shapes_tell_a_width_and_depth_that_have_them(width: float, depth: float, scale_ends: bool) -> None:
    plan = layout(width_mult=width, depth_mult=depth, scale_ends=scale_ends)
    found = width_and_depth(plan.stem_channels, [row.out_channels for row in plan.blocks], plan.last_channels)
    again = layout(
        width_mult=float(found["width_mult"]),
        depth_mult=float(found["depth_mult"]),
        scale_ends=bool(found["scale_ends"]),
    )
    assert again == plan


def test_shapes_of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a stem of 64 channels and blocks of \[64, 128\] belong to no width"):
        width_and_depth(64, [64, 128])
