"""The blocks of a MobileNetV2 in groups, as convolutions: what goes into files (section 5.1).

:mod:`mnv2dense.models.split_blocks` holds least in torch, by products that add up in place. A file's runtime plans its
memory itself, and quantises convolutions. So here a group is three convolutions of its own and a sum, and the order of
execution is the order of the file: the sum of the groups so far waits for the next one, whose inner tensors are gone
before those of the one after it are made.

A block that is not cut is the block itself, in its own name.
"""

from __future__ import annotations

import copy
from typing import cast, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnv2dense.backbones.blocks import InvertedResidual
from mnv2dense.models.fuse import convolution_of
from mnv2dense.models.normalize import Normalize
from mnv2dense.models.split_blocks import cut, stem_window


@final
class StemInStrips(nn.Module):
    """Normalisation, stem and first block, in strips of rows that are put together at the end.

    Args:
        normalize: of uint8 images; None where they come normalised.
        stem: a folded convolution, batch norm and ReLU6, of stride 2.
        block: the first inverted residual: stride 1, no expansion; folded.
        groups: how many strips.
    """

    def __init__(self, normalize: Normalize | None, stem: nn.Module, block: InvertedResidual, *, groups: int) -> None:
        super().__init__()
        self.normalize: nn.Module = nn.Identity() if normalize is None else normalize
        self._same = convolution_of(stem).padding == (0, 0)
        self.stem = _unpadded(stem)
        self.depthwise = _unpadded(block.depthwise)
        self.projection = block.projection
        self._shortcut = block.shortcut
        self.groups = groups

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, C, ceil(H / 2), ceil(W / 2)]."""
        rows = (images.shape[2] + 1) // 2
        return torch.cat([self._strip(images, low, high) for low, high in cut(rows, self.groups)], dim=2)

    def _strip(self, images: Tensor, low: int, high: int) -> Tensor:
        """Rows ``low`` up to ``high`` of the output."""
        rows = (images.shape[2] + 1) // 2
        above, below = max(low - 1, 0), min(high + 1, rows)
        x = self._stem(images, above, below)
        kept = x[:, :, low - above : high - above] if self._shortcut else None
        # Beyond the image are zeros; within it the rows of the neighbours, which are computed here once more.
        x = F.pad(x, (1, 1, above - low + 1, high + 1 - below))
        x = self.projection(self.depthwise(x))
        return cast(Tensor, x if kept is None else x + kept)

    def _stem(self, images: Tensor, low: int, high: int) -> Tensor:
        """Rows ``low`` up to ``high`` of the stem's output."""
        rows, padding = stem_window(low, high, images.shape[2], images.shape[3], same=self._same)
        x = self.normalize(images[:, :, rows])
        # What is padded is the normalised image: zero is the mean there, and black in the raw one.
        stem: Tensor = self.stem(F.pad(x, padding))
        return stem


@final
class BlockInGroups(nn.Module):
    """An inverted residual in groups of its inner channels.

    Args:
        block: to be cut; folded.
        groups: how many, at most one for each inner channel.
        tapped: the expanded tensor is wanted by itself and has to be whole; what follows it is cut all the same.

    Attributes:
        groups: how many there are.
    """

    def __init__(self, block: InvertedResidual, groups: int, *, tapped: bool) -> None:
        super().__init__()
        self.tapped = tapped
        self._contracts = not block.expansion_only
        self._shortcut = block.shortcut
        self.expansion: nn.Module = block.expansion if tapped else nn.Identity()
        self.parts = nn.ModuleList()
        self.activation: nn.Module = nn.Identity()
        if self._contracts:
            ranges = cut(convolution_of(block.depthwise).out_channels, groups)
            self.parts.extend(_Part(block, low, high, expands=not tapped) for low, high in ranges)
            *_, last = block.projection.children()
            if isinstance(last, nn.ReLU6):
                self.activation = nn.ReLU6()
        self.groups = max(1, len(self.parts))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """[B, C, H, W] -> [B, C', H / stride, W / stride]; after the expanded tensor, where that is tapped."""
        if not self.tapped:
            return self._contract(x, x)
        expanded = self.expansion(x)
        return expanded, self._contract(x, expanded) if self._contracts else x

    def _contract(self, x: Tensor, inner: Tensor) -> Tensor:
        first, *others = self.parts
        out: Tensor = first(inner)
        for part in others:
            out = out + part(inner)
        out = self.activation(out)
        return out + x if self._shortcut else out


@final
class _Part(nn.Module):
    """Some of a block's inner channels: expanded, filtered and projected.

    Args:
        block: folded.
        low: the first of these channels.
        high: the one after the last.
        expands: whether it makes its channels; else it takes them out of all.
    """

    def __init__(self, block: InvertedResidual, low: int, high: int, *, expands: bool) -> None:
        super().__init__()
        self._slice = slice(low, high)
        self._expands = expands and not isinstance(block.expansion, nn.Identity)
        self.expansion: nn.Module = _outputs(block.expansion, self._slice) if self._expands else nn.Identity()
        self.depthwise = _outputs(block.depthwise, self._slice)
        projection = convolution_of(block.projection)
        self.projection = nn.Conv2d(high - low, projection.out_channels, 1)
        self.projection.weight.data = projection.weight.data[:, self._slice].clone()
        assert projection.bias is not None
        # Once, and not with every group.
        bias = projection.bias.detach()
        self.projection.bias = nn.Parameter(bias.clone() if low == 0 else torch.zeros_like(bias))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> what these channels add to the block's output."""
        x = self.expansion(x) if self._expands else x[:, self._slice]
        out: Tensor = self.projection(self.depthwise(x))
        return out


def _outputs(layer: nn.Module, part: slice) -> nn.Module:
    """A copy of a layer of convolution and ReLU6 with some of its output channels."""
    made = copy.deepcopy(layer)
    convolution = convolution_of(made)
    assert convolution.bias is not None
    convolution.weight = nn.Parameter(convolution.weight.detach()[part].clone(), requires_grad=False)
    convolution.bias = nn.Parameter(convolution.bias.detach()[part].clone(), requires_grad=False)
    convolution.out_channels = part.stop - part.start
    if convolution.groups > 1:
        convolution.in_channels = convolution.groups = convolution.out_channels
    return made


def _unpadded(layer: nn.Module) -> nn.Module:
    """A layer of convolution and ReLU6 whose input comes padded."""
    whole = convolution_of(layer)
    made = nn.Conv2d(
        whole.in_channels, whole.out_channels, whole.kernel_size[0], whole.stride[0], dilation=whole.dilation[0],
        groups=whole.groups,
    )  # fmt: skip
    made.load_state_dict(whole.state_dict())
    return nn.Sequential(made, nn.ReLU6(inplace=True))
