"""A neck between backbone and head: what is fine learns what the coarse maps mean, and they where it lies."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnv2dense.backbones.blocks import BatchNorm
from mnv2dense.backbones.depthwise import DepthwiseConv2d
from mnv2dense.types import FeatureInfo


@final
class PathAggregation(nn.Module):
    """PANet's two ways through the pyramid (Liu et al. 2018, section 3.1), depthwise separable.

    Every map becomes ``channels`` wide, one level more is made from the coarsest, and meaning goes down the pyramid,
    then places go up: at each step the map from before is resized, set beside the level's own, mixed by a 1x1 and
    looked at by a depthwise 5x5, and what comes of it is added to what was there (He et al. 2016). A pretrained
    feature so reaches the head through one new layer, which a short run can learn: without the sums, the loss of epoch
    5 took 8 (docs/benchmarks.md, Learning). Maps are twice as coarse from one to the next.

    Args:
        features: the backbone's maps, the finest first.
        channels: of every map that comes out.
        norm_eps: batch norm's epsilon.
        norm_momentum: weight of the newest batch in the running statistics.

    Attributes:
        strides: of the maps that come out, one more than ``features``.

    Raises:
        ValueError: fewer than two features, strides that do not double, or no channels.
    """

    def __init__(
        self,
        features: Mapping[str, FeatureInfo],
        *,
        channels: int = 96,
        norm_eps: float = 1e-3,
        norm_momentum: float = 0.03,
    ) -> None:
        super().__init__()
        strides = [info.stride for info in features.values()]
        if len(strides) < 2 or any(after != 2 * before for before, after in pairwise(strides)):
            raise ValueError(
                f"{list(features)} have strides {strides}, and this neck takes two maps or more, each of twice the "
                "stride of the one before: [stride8, stride16, last_bottleneck], say."
            )
        if channels < 1:
            raise ValueError(f"channels={channels}: a map needs at least one; 96 is usual.")
        self.strides = (*strides, 2 * strides[-1])
        self._features = tuple(features)
        norm = {"eps": norm_eps, "momentum": norm_momentum}
        steps = len(strides)
        self.lateral = nn.ModuleList(_conv(info.channels, channels, norm) for info in features.values())
        self.beyond = _separable(channels, norm, stride=2)
        self.downward = nn.ModuleList(_mix(channels, norm) for _ in range(steps))
        self.shrink = nn.ModuleList(_separable(channels, norm, stride=2) for _ in range(steps))
        self.upward = nn.ModuleList(_mix(channels, norm) for _ in range(steps))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """Name -> map; the maps that come out, [B, C, H / stride, W / stride] of each of :attr:`strides`."""
        maps = [layer(features[name]) for layer, name in zip(self.lateral, self._features, strict=True)]
        # ReLU6 leaves nothing below 0, so zeros around are no largest; LiteRT breaks down over int8 pools that pad.
        maps.append(self.beyond(maps[-1]) + F.max_pool2d(F.pad(maps[-1], (1, 1, 1, 1)), 3, stride=2))
        for step, mix in enumerate(self.downward, start=1):
            level = len(maps) - 1 - step
            wider = _doubled(maps[level + 1], maps[level])
            maps[level] = maps[level] + wider + mix(torch.cat((maps[level], wider), dim=1))
        for level, (shrink, mix) in enumerate(zip(self.shrink, self.upward, strict=True), start=1):
            maps[level] = maps[level] + mix(torch.cat((maps[level], shrink(maps[level - 1])), dim=1))
        return maps


def _doubled(x: Tensor, like: Tensor) -> Tensor:
    """Every cell four times, cut to the size of the finer map.

    The same as resizing to that size, and not only nearly: LiteRT takes other neighbours where 5 cells become 9.
    """
    height, width = int(like.shape[-2]), int(like.shape[-1])
    wide = F.interpolate(x, scale_factor=2.0, mode="nearest")
    return wide if wide.shape[-2:] == (height, width) else wide[..., :height, :width]


def _conv(
    before: int, after: int, norm: Mapping[str, Any], *, kernel: int = 1, stride: int = 1, depthwise: bool = False
) -> nn.Sequential:
    groups = before if depthwise else 1
    kind = DepthwiseConv2d if depthwise else nn.Conv2d
    conv = kind(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, BatchNorm(after, **norm), nn.ReLU6(inplace=True))


def _separable(channels: int, norm: Mapping[str, Any], *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        _conv(channels, channels, norm, kernel=5, stride=stride, depthwise=True), _conv(channels, channels, norm)
    )


def _mix(channels: int, norm: Mapping[str, Any]) -> nn.Sequential:
    return nn.Sequential(_conv(2 * channels, channels, norm), _separable(channels, norm))
