"""Convolution with batch norm, and the inverted residual that MobileNetV2 is built from."""

from __future__ import annotations

from typing import Any, Literal, final

import torch.nn.functional as F
from torch import Tensor, nn

from mnv2dense.backbones.depthwise import DepthwiseConv2d

Padding = Literal["torch", "tf"]
"""How stride-2 convolutions pad: torch one pixel on every side, TensorFlow's SAME only as much as it needs."""

Bottleneck = Literal["linear", "relu6"]
"""What follows the last 1x1 of a block: nothing, as in the paper, or a ReLU6 (figure 6a)."""

Shortcut = Literal["bottleneck", "expansion", "none"]
"""What shortcuts connect: the narrow ends of a block, as in the paper, the expanded tensors of two blocks that
follow each other, or nothing (figure 6b)."""


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, and ReLU6 unless ``linear``.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        kernel: side of the square kernel, 1 or 3.
        stride: 1 or 2.
        dilation: spacing of the kernel's taps.
        groups: ``in_channels`` for a depthwise convolution.
        linear: True for the last 1x1 of a block (linear bottleneck, section 3.2).
        padding: see :data:`Padding`.
        norm_eps: batch norm's epsilon.
        norm_momentum: weight of the newest batch in the running statistics (torch's sense).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        linear: bool = False,
        padding: Padding = "torch",
        norm_eps: float = 1e-5,
        norm_momentum: float = 0.1,
    ) -> None:
        conv: nn.Conv2d
        if padding == "tf" and stride > 1:
            conv = _SameConv2d(in_channels, out_channels, kernel, stride, groups=groups, bias=False)
        else:  # at stride 1 both styles pad the same
            # The others learn in time as they are, and are leaves to torch.fx.
            kind = DepthwiseConv2d if groups > 1 and max(stride, dilation) > 1 else nn.Conv2d
            conv = kind(
                in_channels,
                out_channels,
                kernel,
                stride,
                padding=dilation * (kernel - 1) // 2,
                dilation=dilation,
                groups=groups,
                bias=False,
            )
        layers = [conv, nn.BatchNorm2d(out_channels, eps=norm_eps, momentum=norm_momentum)]
        super().__init__(*layers, *([] if linear else [nn.ReLU6(inplace=True)]))


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that a single value per channel does not stop.

    A map of one cell, as pooling gives or the last one of a 320-pixel detector is, has no variance in a batch of one
    image, and torch refuses it; the running statistics then stand in, and are not updated.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same, normalised."""
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


class _SameConv2d(DepthwiseConv2d):
    """A stride-2 convolution padded as TensorFlow's SAME: an even side gets one pixel, at its end alone."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        needed = self.kernel_size[0] - self.stride[0]
        top, left = height % 2, width % 2
        # Not super().forward(): TorchScript has no super().
        filtered: Tensor = self._conv_forward(F.pad(x, (left, needed, top, needed)), self.weight, self.bias)
        return filtered


@final
class InvertedResidual(nn.Module):
    """Expand 1x1, filter depthwise 3x3, project 1x1 linearly (section 3.3, figure 4b).

    Args:
        in_channels: channels in.
        out_channels: channels out.
        expansion: factor t of the inner width; at 1 there is no expansion layer.
        stride: of the depthwise convolution.
        dilation: of the depthwise convolution.
        bottleneck: see :data:`Bottleneck`.
        shortcut: see :data:`Shortcut`; one between expansions is added by who holds the block before.
        expansion_only: build no further than the expansion; for a backbone whose deepest feature is that.
        layer: padding and batch-norm options, passed to every :class:`ConvNormAct`.

    Attributes:
        shortcut: whether the block's input is added to its output: where stride is 1 and channels match.
        expansion_only: as given; ``depthwise`` and ``projection`` then do nothing.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        expansion: int,
        stride: int,
        dilation: int = 1,
        bottleneck: Bottleneck = "linear",
        shortcut: Shortcut = "bottleneck",
        expansion_only: bool = False,
        **layer: Any,  # noqa: ANN401 - ConvNormAct checks them
    ) -> None:
        super().__init__()
        inner = in_channels * expansion
        alike = stride == 1 and in_channels == out_channels and not expansion_only
        self.shortcut = shortcut == "bottleneck" and alike
        self.expansion_only = expansion_only
        self.expansion = ConvNormAct(in_channels, inner, kernel=1, **layer) if expansion > 1 else nn.Identity()
        # TorchScript compiles forward() as a whole: even a block that ends early needs something here.
        self.depthwise: nn.Module = nn.Identity()
        self.projection: nn.Module = nn.Identity()
        if not expansion_only:
            self.depthwise = ConvNormAct(
                inner, inner, kernel=3, stride=stride, dilation=dilation, groups=inner, **layer
            )
            self.projection = ConvNormAct(inner, out_channels, kernel=1, linear=bottleneck == "linear", **layer)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H / stride, W / stride]."""
        return self.contract(self.expansion(x), x)

    def contract(self, expanded: Tensor, x: Tensor) -> Tensor:
        """The second half: filter and project the expanded tensor, add the block's input where shapes allow."""
        projected: Tensor = self.projection(self.depthwise(expanded))
        return projected + x if self.shortcut else projected


def draw_weights(model: nn.Module) -> None:
    """Fresh weights for every convolution: normal, scaled by what it gives to (He et al. 2015)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
