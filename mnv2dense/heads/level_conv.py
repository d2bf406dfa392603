"""Convolutions that the levels of a pyramid share."""

from __future__ import annotations

import copy
from typing import cast, final

from torch import Tensor, nn

from mnv2dense.backbones.blocks import BatchNorm
from mnv2dense.backbones.depthwise import DepthwiseConv2d


@final
class LevelConv(nn.Module):
    """Convolution without bias, a batch norm for each level, ReLU6.

    Levels see objects of the same size in their own cells, so one convolution serves them all; but their activations
    are spread differently, and one batch norm for all would fit none.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        levels: how many there are.
        kernel: side of the square kernel, odd.
        depthwise: each channel by itself.
        norm_eps: batch norm's epsilon.
        norm_momentum: weight of the newest batch in the running statistics.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        levels: int,
        kernel: int = 1,
        depthwise: bool = False,
        norm_eps: float = 1e-3,
        norm_momentum: float = 0.03,
    ) -> None:
        super().__init__()
        groups = in_channels if depthwise else 1
        kind = DepthwiseConv2d if depthwise else nn.Conv2d
        self.conv: nn.Conv2d | None = kind(
            in_channels, out_channels, kernel, padding=kernel // 2, groups=groups, bias=False
        )
        self.norms = cast(
            "list[BatchNorm]",
            nn.ModuleList(BatchNorm(out_channels, eps=norm_eps, momentum=norm_momentum) for _ in range(levels)),
        )
        self.act = nn.ReLU6(inplace=True)
        self.levels: list[nn.Sequential] | None = None

    def forward(self, x: Tensor, level: int) -> Tensor:
        """[B, C, H, W] of a level, counted from 0 -> the same size."""
        if self.levels is not None:
            return cast("Tensor", self.levels[level](x))
        assert self.conv is not None
        return cast("Tensor", self.act(self.norms[level](self.conv(x))))

    def unshare(self) -> None:
        """A convolution for each level, in place, with the same results: what batch norms can be folded into."""
        if self.conv is None:
            return
        layers = [nn.Sequential(copy.deepcopy(self.conv), norm, nn.ReLU6(inplace=True)) for norm in self.norms]
        self.levels = cast("list[nn.Sequential]", nn.ModuleList(layers))
        self.conv = None
        self.norms = cast("list[BatchNorm]", nn.ModuleList())


@final
class LevelPredictor(nn.Module):
    """A 1x1 convolution with bias that all levels share.

    Args:
        channels: channels in.
        outputs: channels out.
        levels: how many there are.
    """

    def __init__(self, channels: int, outputs: int, *, levels: int) -> None:
        super().__init__()
        self.conv: nn.Conv2d | None = nn.Conv2d(channels, outputs, 1)
        self.levels: list[nn.Conv2d] | None = None
        self._count = levels

    def forward(self, x: Tensor, level: int) -> Tensor:
        """[B, C, H, W] of a level, counted from 0 -> the same size."""
        if self.levels is not None:
            return cast("Tensor", self.levels[level](x))
        assert self.conv is not None
        return cast("Tensor", self.conv(x))

    def unshare(self) -> None:
        """A convolution for each level, in place: what goes in has a range of its own, and so has int8's bias."""
        if self.conv is not None:
            copies = nn.ModuleList(copy.deepcopy(self.conv) for _ in range(self._count))
            self.levels = cast("list[nn.Conv2d]", copies)
            self.conv = None
