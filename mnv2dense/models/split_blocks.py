"""The blocks of a MobileNetV2 in groups, one group alive at a time (section 5.1).

A block is F(x) = sum over i of A_i(N(B_i(x))): its inner channels neither mix nor are wanted outside, so a group of
them can be expanded, filtered and projected after the other, the projections adding up in the output. What has to be
held is the block's input, its output and one group. The order of execution makes that true:

* the expansion of a group is dropped before its projection, ReLU6 happens in place, and a projection is a matrix
  product that accumulates in the output's own memory (``baddbmm_``), as does the shortcut;
* the image is normalised, and goes through stem and first block, in strips of rows. The stem's full convolution
  reads every channel of the image, so channel groups would hold a float image beside the output; a strip holds a
  few rows of it;
* no name and no argument keeps a tensor that is done with.

Everything lies in NHWC memory: there a group of channels is a plain factor of a matrix product, and torch's depthwise
convolutions on CPUs take it as it is, where they copy other layouts to a larger one.
"""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnv2dense.backbones.blocks import InvertedResidual
from mnv2dense.models.fuse import convolution_of


@final
class SplitStart(nn.Module):
    """Normalisation, stem and first block, in strips of rows.

    Args:
        stem: a folded convolution, batch norm and ReLU6, of stride 2.
        block: the first inverted residual: stride 1, no expansion; folded.
        normalization: scale and shift, [1, 3, 1, 1], of uint8 images; None where they come normalised.
        groups: how many strips.
    """

    def __init__(
        self,
        stem: nn.Module,
        block: InvertedResidual,
        *,
        normalization: tuple[Tensor, Tensor] | None,
        groups: int,
    ) -> None:
        super().__init__()
        scale, shift = normalization or (None, None)
        self.scale: Tensor | None
        self.shift: Tensor | None
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)
        convolution = convolution_of(stem)
        self.same = convolution.padding == (0, 0)
        self.stem_weight, self.stem_bias = _weights(convolution)
        self.depthwise_weight, self.depthwise_bias = _weights(convolution_of(block.depthwise))
        self.projection = _Projection(block)
        self.groups = groups

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, C, ceil(H / 2), ceil(W / 2)]."""
        rows, columns = _half(images.shape[-2]), _half(images.shape[-1])
        if self.groups == 1:
            return _as_map(self._strip(images, 0, rows), rows)
        # Not a list of strips to concatenate: that would hold the output twice.
        whole = self.stem_bias.new_empty(images.shape[0], rows * columns, self.projection.channels)
        for low, high in cut(rows, self.groups):
            whole[:, low * columns : high * columns] = self._strip(images, low, high)
        return _as_map(whole, rows)

    def _strip(self, images: Tensor, low: int, high: int) -> Tensor:
        """Rows ``low`` up to ``high`` of the output, [B, rows * columns, C]."""
        above, below = max(low - 1, 0), min(high + 1, _half(images.shape[-2]))
        kept = slice(low - above, high - above)
        x = self._stem(images, above, below)
        shortcut = _pixels(x[:, :, kept]) if self.projection.shortcut else None
        # The padding stands for the neighbour rows at the image's edges; elsewhere those rows are not kept.
        x = F.conv2d(x, self.depthwise_weight, self.depthwise_bias, padding=1, groups=x.shape[1])
        return self.projection.finish(self.projection(_relu6(_pixels(x[:, :, kept])), slice(None), None), shortcut)

    def _stem(self, images: Tensor, low: int, high: int) -> Tensor:
        """Rows ``low`` up to ``high`` of the stem's output."""
        rows, padding = stem_window(low, high, images.shape[-2], images.shape[-1], same=self.same)
        x = images[:, :, rows]
        if self.scale is not None and self.shift is not None:
            x = x.to(self.scale.dtype) * self.scale + self.shift
        # What is padded is the normalised image: zero is the mean there, and black in the raw one.
        x = F.pad(x, padding)
        x = x.contiguous(memory_format=torch.channels_last)
        return _relu6(F.conv2d(x, self.stem_weight, self.stem_bias, stride=2))


@final
class SplitBlock(nn.Module):
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
        self.expands = not isinstance(block.expansion, nn.Identity)
        if self.expands:
            self.expansion_weight, self.expansion_bias = _matrix(block.expansion)
        self.contracts = not block.expansion_only
        self.groups = 1
        if not self.contracts:
            return
        convolution = convolution_of(block.depthwise)
        self.stride, self.dilation = convolution.stride[0], convolution.dilation[0]
        self.same = convolution.padding == (0, 0)
        self.depthwise_weight, self.depthwise_bias = _weights(convolution)
        self.projection = _Projection(block)
        self.parts = [slice(low, high) for low, high in cut(convolution.out_channels, groups)]
        self.groups = len(self.parts)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """[B, C, H, W] -> [B, C', H / stride, W / stride]; after the expanded tensor, where that is tapped."""
        if not self.tapped:
            return self._contract(x, None)
        expanded = self._expand(x, slice(None))
        return expanded, self._contract(x, expanded) if self.contracts else x

    def _expand(self, x: Tensor, part: slice) -> Tensor:
        if not self.expands:
            return x[:, part]
        weight = self.expansion_weight[:, part].expand(x.shape[0], -1, -1)
        return _as_map(_relu6(torch.baddbmm(self.expansion_bias[part], _pixels(x), weight)), x.shape[2])

    def _contract(self, x: Tensor, expanded: Tensor | None) -> Tensor:
        out: Tensor | None = None
        for part in self.parts:
            # Nested calls: a name for the group would keep it alive while the next one is made.
            out = self.projection(self._filter(x, part, expanded), part, out)
        assert out is not None
        out = self.projection.finish(out, _pixels(x) if self.projection.shortcut else None)
        return _as_map(out, -(-x.shape[2] // self.stride))

    def _filter(self, x: Tensor, part: slice, expanded: Tensor | None) -> Tensor:
        x = self._expand(x, part) if expanded is None else expanded[:, part]
        # TensorFlow's SAME pads an even side at its end alone. Two pixels on both sides and the first result dropped
        # are the same, without a padded copy of the group.
        skip = (1 - x.shape[2] % 2, 1 - x.shape[3] % 2) if self.same else (0, 0)
        x = F.conv2d(
            x,
            self.depthwise_weight[part],
            self.depthwise_bias[part],
            self.stride,
            (self.dilation + skip[0], self.dilation + skip[1]),
            self.dilation,
            groups=x.shape[1],
        )
        return _relu6(_pixels(x[:, :, skip[0] :, skip[1] :]))


@final
class _Projection(nn.Module):
    """The end of a block: the 1x1 that adds up the groups."""

    def __init__(self, block: InvertedResidual) -> None:
        super().__init__()
        self.weight, self.bias = _matrix(block.projection)
        self.channels = self.bias.shape[0]
        self.nonlinear = isinstance(list(block.projection.children())[-1], nn.ReLU6)
        self.shortcut = block.shortcut

    def forward(self, pixels: Tensor, part: slice, out: Tensor | None) -> Tensor:
        """Add the group ``part``, [B, H * W, inner], to ``out``, [B, H * W, C], in place; None begins it."""
        weight = self.weight[part].expand(pixels.shape[0], -1, -1)
        if out is None:
            return torch.baddbmm(self.bias, pixels, weight)
        return out.baddbmm_(pixels, weight)

    def finish(self, out: Tensor, x: Tensor | None) -> Tensor:
        """What comes after the last group: a ReLU6 where the bottleneck has one, and the shortcut from ``x``."""
        out = _relu6(out) if self.nonlinear else out
        return out if x is None else out.add_(x)


def _relu6(x: Tensor) -> Tensor:
    return F.relu6(x, inplace=True)


def _pixels(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H * W, C]; a view in NHWC and NCHW memory alike."""
    return x.flatten(2).mT


def _as_map(pixels: Tensor, height: int) -> Tensor:
    """The way back: [B, H * W, C] -> [B, C, H, W], a view."""
    return pixels.view(pixels.shape[0], height, -1, pixels.shape[2]).permute(0, 3, 1, 2)


def cut(length: int, count: int) -> list[tuple[int, int]]:
    """Ranges that cover 0..length, as even as can be, at most one for each."""
    count = min(count, length)
    return [(length * i // count, length * (i + 1) // count) for i in range(count)]


def stem_window(low: int, high: int, height: int, width: int, *, same: bool) -> tuple[slice, tuple[int, int, int, int]]:
    """What the stem reads for rows ``low`` up to ``high`` of its output.

    Args:
        low: the first row.
        high: the one after the last.
        height: of the image, pixels.
        width: of the image, pixels.
        same: whether it pads as TensorFlow's SAME does, and not by one on each side.

    Returns:
        Rows of the image; and zeros to put left, right, above and below them.
    """
    top, left = (height % 2, width % 2) if same else (1, 1)
    begin, end = 2 * low - top, 2 * high - top + 1
    padding = (left, 2 * _half(width) + 1 - left - width, max(-begin, 0), max(end - height, 0))
    return slice(max(begin, 0), min(end, height)), padding


def _half(side: int) -> int:
    return (side + 1) // 2


def _weights(convolution: nn.Conv2d) -> tuple[nn.Parameter, nn.Parameter]:
    assert convolution.bias is not None
    return nn.Parameter(convolution.weight.detach()), nn.Parameter(convolution.bias.detach())


def _matrix(layer: nn.Module) -> tuple[nn.Parameter, nn.Parameter]:
    """[C, C'] of a 1x1 convolution, to be multiplied from the right, and its bias."""
    weight, bias = _weights(convolution_of(layer))
    return nn.Parameter(weight.detach().flatten(1).t().contiguous()), bias
