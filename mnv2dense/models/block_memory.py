"""What each block of a MobileNetV2 holds while it runs: the arithmetic of section 5.1."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from mnv2dense.backbones.layout import layout
from mnv2dense.backbones.mobilenet_v2 import MobileNetV2
from mnv2dense.models.fuse import convolution_of


class BlockMemory(NamedTuple):
    """Elements alive for one image while a block runs in groups of its inner tensor.

    Attributes:
        whole: the block's input and output, and the features of earlier blocks that wait for the head. Groups come on
            top, so no way of cutting the block takes less: the paper's bound.
        overlap: what a group takes beside its units: rows of its neighbours.
        units: what can be cut apart: inner channels, and rows in the first block.
        unit: elements that each takes.
    """

    whole: int
    overlap: int
    units: int
    unit: int

    def groups_within(self, budget: float) -> int:
        """The fewest groups with which the block takes at most ``budget`` elements; as many as can be, if none do."""
        units = max(1, int((budget - self.whole - self.overlap) // self.unit))
        return -(-self.units // units)


def block_memory(backbone: MobileNetV2, size: tuple[int, int]) -> list[BlockMemory]:
    """Of every block, for an image of ``size`` (height, width) pixels.

    The first block is counted with the stem before it; the image belongs to the caller and is not counted.
    """
    ends = block_of_feature(backbone)
    tapped = ends.pop("stride16_expanded", len(backbone.blocks))
    height, width = ((side + 1) // 2 for side in size)
    maps: list[int] = []  # elements of what each block gives
    expanded = 0
    found: list[BlockMemory] = []
    for index, block in enumerate(backbone.blocks):
        if index == 0:
            stem = convolution_of(backbone.stem).out_channels
            maps.append(height * width * convolution_of(block.projection).out_channels)
            # A row of the stem's output and the filtered one; where those are few, two of the pixels being normalised.
            row = width * max(2 * stem, 24)
            found.append(BlockMemory(whole=maps[0], overlap=2 * row, units=height, unit=row))
            continue
        waiting = sum(maps[end] for end in ends.values() if end < index - 1) + (expanded if tapped < index else 0)
        made = 0 if isinstance(block.expansion, nn.Identity) else height * width
        if index == tapped:  # whole, and kept; without an expansion it is the block's input
            expanded = made * convolution_of(block.expansion).out_channels if made else maps[-1]
            waiting += expanded if made else 0
            made = 0
        if block.expansion_only:
            found.append(BlockMemory(whole=maps[-1] + waiting, overlap=0, units=1, unit=1))
            break
        convolution = convolution_of(block.depthwise)
        height, width = (-(-side // convolution.stride[0]) for side in (height, width))
        maps.append(height * width * convolution_of(block.projection).out_channels)
        # One row and column more where TensorFlow's padding is had by dropping them, which takes a copy.
        filtered = (height + 1) * (width + 1)
        unit = max(made, filtered) + filtered
        found.append(
            BlockMemory(whole=maps[-2] + maps[-1] + waiting, overlap=0, units=convolution.out_channels, unit=unit)
        )
    return found


def block_of_feature(backbone: MobileNetV2) -> dict[str, int]:
    """Feature name -> index of the block it ends in, of those that the backbone gives and that end in one.

    ``stride16_expanded`` is the inside of its block; ``last_conv`` comes after all of them.
    """
    shape = {name: backbone.config[name] for name in ("width_mult", "depth_mult", "scale_ends", "expansion")}
    ends = layout(**shape).block_of_feature
    return {name: ends[name] for name in backbone.feature_info if name in ends}
