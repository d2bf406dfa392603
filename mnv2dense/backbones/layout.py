"""Table 2 of the paper as numbers: the channels, strides and blocks of a MobileNetV2 of any width and depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class _Stage(NamedTuple):
    expansion: int
    channels: int
    blocks: int
    stride: int


# Table 2, rows t c n s of the bottlenecks; the factor 6 is replaced by the layout's own.
_STAGES = (
    _Stage(1, 16, 1, 1),
    _Stage(6, 24, 2, 2),
    _Stage(6, 32, 3, 2),
    _Stage(6, 64, 4, 2),
    _Stage(6, 96, 3, 1),
    _Stage(6, 160, 3, 2),
    _Stage(6, 320, 1, 1),
)

# Feature name -> the stage whose last block ends in it.
_STAGE_OF_FEATURE = {"stride2": 0, "stride4": 1, "stride8": 2, "stride16": 4, "last_bottleneck": 6}
# The inside of the first block of stride 32: its 1x1 expansion still sees stride 16 and is the widest map there.
_EXPANDED_STAGE = 5


class Row(NamedTuple):
    """One inverted residual: factor of the inner width, channels in and out, stride before any dilation."""

    expansion: int
    in_channels: int
    out_channels: int
    stride: int


class Layout(NamedTuple):
    """Every number that the shapes of the tensors follow from.

    Attributes:
        stem_channels: of the first 3x3 convolution.
        blocks: the inverted residuals, 17 at depth 1.
        last_channels: of the 1x1 convolution after them.
        block_of_feature: feature name -> index of the block it ends in, shallowest first; ``stride16_expanded`` is the
            inside of its block.
    """

    stem_channels: int
    blocks: tuple[Row, ...]
    last_channels: int
    block_of_feature: dict[str, int]


def scaled_channels(channels: int, width_mult: float) -> int:
    """``channels * width_mult`` to the nearest multiple of 8, never falling by more than 10%.

    The rule of the authors' code; the paper's parameter counts at widths other than 1.0 follow from it.
    """
    wanted = channels * width_mult
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def layout(*, width_mult: float = 1.0, depth_mult: float = 1.0, scale_ends: bool = True, expansion: int = 6) -> Layout:
    """Channels, strides and blocks.

    Args:
        width_mult: factor of the channels; below 1 the last convolution stays at 1280 (section 5).
        depth_mult: factor of the blocks of a stage, rounded up (timm's 110d and 120d; 1 in the paper).
        scale_ends: whether stem and last convolution follow ``width_mult``, and the first and last stage
            ``depth_mult``; timm's deeper models leave them as they are.
        expansion: factor t of the inner width of all blocks but the first.
    """
    ends = width_mult if scale_ends else 1.0
    channels = stem = scaled_channels(32, ends)
    blocks: list[Row] = []
    last_of_stage: list[int] = []
    for number, stage in enumerate(_STAGES):
        deepened = scale_ends or 0 < number < len(_STAGES) - 1
        count = math.ceil(stage.blocks * depth_mult) if deepened else stage.blocks
        wide = scaled_channels(stage.channels, width_mult)
        factor = expansion if stage.expansion > 1 else 1
        for i in range(count):
            blocks.append(Row(factor, channels, wide, stage.stride if i == 0 else 1))
            channels = wide
        last_of_stage.append(len(blocks) - 1)
    ends_in = {name: last_of_stage[stage] for name, stage in _STAGE_OF_FEATURE.items()}
    ends_in["stride16_expanded"] = last_of_stage[_EXPANDED_STAGE - 1] + 1
    order = sorted(ends_in, key=ends_in.__getitem__)
    return Layout(
        stem_channels=stem,
        blocks=tuple(blocks),
        last_channels=max(1280, scaled_channels(1280, ends)),
        block_of_feature={name: ends_in[name] for name in order},
    )


FEATURE_NAMES = (*layout().block_of_feature, "last_conv")
"""What a MobileNetV2 can return, shallowest first."""

# Widths that someone publishes weights of, tried before all others.
_PUBLISHED_WIDTHS = (1.0, 1.4, 0.5, 0.75, 0.35, 1.3, 1.1, 1.2, 0.25, 0.1, 1.5, 2.0)


def width_and_depth(
    stem_channels: int, block_channels: Sequence[int], last_channels: int | None = None
) -> dict[str, float | bool]:
    """The ``width_mult``, ``depth_mult`` and ``scale_ends`` of weights that do not say them, from their shapes.

    Args:
        stem_channels: of the first convolution.
        block_channels: what each block gives, in order.
        last_channels: of the last convolution, if it is there.

    Raises:
        ValueError: no width and depth of MobileNetV2 has these channels.
    """
    widths = [*_PUBLISHED_WIDTHS, *(hundredths / 100 for hundredths in range(5, 401))]
    depths = (1.0, 1.2, 1.4, *(tenths / 10 for tenths in range(10, 31)))
    for scale_ends in (True, False):
        for depth in depths:
            for width in widths:
                candidate = layout(width_mult=width, depth_mult=depth, scale_ends=scale_ends)
                if len(candidate.blocks) != len(block_channels):
                    break  # no width changes the number of blocks
                outs = [row.out_channels for row in candidate.blocks]
                lasts = (None, candidate.last_channels)
                if candidate.stem_channels == stem_channels and outs == list(block_channels) and last_channels in lasts:
                    return {"width_mult": width, "depth_mult": depth, "scale_ends": scale_ends}
    raise ValueError(
        f"a stem of {stem_channels} channels and blocks of {list(block_channels)} belong to no width and depth of "
        "MobileNetV2."
    )
