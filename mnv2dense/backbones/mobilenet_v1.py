"""MobileNetV1 (Howard et al. 2017, arXiv 1704.04861): what MobileNetV2 is compared with, under the same heads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple, final

from torch import Tensor, nn

from mnv2dense.backbones.blocks import ConvNormAct, Padding, draw_weights
from mnv2dense.backbones.checks import (
    check_choice,
    check_features,
    check_floats,
    check_norm,
    check_numbers,
    check_width,
    three,
)
from mnv2dense.backbones.layout import FEATURE_NAMES
from mnv2dense.types import FeatureInfo

# Table 1: channels that a depthwise separable block gives, and its stride; the stem before them gives 32 at stride 2.
_STEM = 32
_BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)

# Feature name -> the block it ends in. What the depthwise filter of stride 32 reads is the last map of stride 16 here,
# as no block expands; and no convolution follows the last block, unless there is a ``head_conv``.
_BLOCK_OF_FEATURE = {
    "stride2": 0,
    "stride4": 2,
    "stride8": 4,
    "stride16": 10,
    "stride16_expanded": 10,
    "last_bottleneck": 12,
    "last_conv": 12,
}


class Row(NamedTuple):
    """One depthwise separable block: channels in and out, stride before any dilation."""

    in_channels: int
    out_channels: int
    stride: int


class Layout(NamedTuple):
    """Every number that the shapes of the tensors follow from.

    Attributes:
        stem_channels: of the first 3x3 convolution.
        blocks: the 13 depthwise separable ones.
        head_channels: of the 1x1 convolution after them; 0 where there is none.
    """

    stem_channels: int
    blocks: tuple[Row, ...]
    head_channels: int


def layout(*, width_mult: float = 1.0, head_conv: bool = False) -> Layout:
    """Channels and strides.

    Channels are cut to whole numbers, and at least 8, as in TensorFlow's code. MobileNetV2's go to multiples of 8.

    Args:
        width_mult: factor of the channels.
        head_conv: whether a 1x1 convolution follows, of at least 1024 channels (timm's mobilenetv1_100h).
    """

    def scaled(channels: int) -> int:
        return max(8, int(channels * width_mult))

    channels = stem = scaled(_STEM)
    rows = []
    for out_channels, stride in _BLOCKS:
        rows.append(Row(channels, scaled(out_channels), stride))
        channels = scaled(out_channels)
    return Layout(stem, tuple(rows), max(1024, channels) if head_conv else 0)


# Of published weights, tried before all others.
_PUBLISHED_WIDTHS = (1.0, 0.75, 0.5, 0.25, 1.25)


def width_of(stem_channels: int, block_channels: Sequence[int]) -> float:
    """The ``width_mult`` of weights that do not say it, from their shapes.

    Args:
        stem_channels: of the first convolution.
        block_channels: what each block gives, in order.

    Raises:
        ValueError: no width of MobileNetV1 has these channels.
    """
    for width in (*_PUBLISHED_WIDTHS, *(hundredths / 100 for hundredths in range(5, 401))):
        plan = layout(width_mult=width)
        if plan.stem_channels == stem_channels and [row.out_channels for row in plan.blocks] == list(block_channels):
            return width
    raise ValueError(
        f"a stem of {stem_channels} channels and blocks of {list(block_channels)} belong to no width of MobileNetV1."
    )


@final
class MobileNetV1(nn.Module):
    """The first MobileNet's feature extractor, as deep as the deepest feature asked for.

    Features are named by what heads use them for, as those of :class:`mnv2dense.MobileNetV2`, so the same heads fit
    without an option more. With channels at width 1.0: ``stride2`` (64), ``stride4`` (128), ``stride8`` (256),
    ``stride16`` and ``stride16_expanded`` (512, one tensor: Conv2d_11, SSD's first map), ``last_bottleneck`` and
    ``last_conv`` (1024, one tensor: Conv2d_13). The names speak of output stride 32; with a smaller ``output_stride``
    the deep ones keep name and channels, and ``feature_info`` tells their true stride.

    Activations are ReLU6, as in the code of TensorFlow, Keras, timm and transformers; the paper says ReLU.

    Args:
        width_mult: width multiplier; channels are cut to whole numbers, and at least 8.
        output_stride: 8, 16 or 32: strides past it become dilations.
        features: names to return, in this order.
        head_conv: end in a 1x1 convolution of at least 1024 channels, which is ``last_conv`` then; the paper has none
            (timm's mobilenetv1_100h has).
        padding: how stride-2 convolutions pad; belongs to the weights.
        norm_eps: batch norm's epsilon; belongs to the weights (TensorFlow 1e-3, torch 1e-5).
        norm_momentum: weight of the newest batch in the running statistics (TensorFlow 0.0003, torch 0.1).
        mean: subtracted from pixels scaled to 0..1, per RGB channel; belongs to the weights.
        std: pixels are divided by it after that.

    Raises:
        ValueError: for an option outside the values above.
    """

    def __init__(
        self,
        *,
        width_mult: float = 1.0,
        output_stride: int = 32,
        features: Sequence[str] = ("last_conv",),
        head_conv: bool = False,
        padding: Padding = "torch",
        norm_eps: float = 1e-5,
        norm_momentum: float = 0.1,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
    ) -> None:
        super().__init__()
        check_numbers(width_mult=width_mult, norm_eps=norm_eps, norm_momentum=norm_momentum)
        check_width(width_mult, published="0.25, 0.5, 0.75, 1.0")
        check_norm(norm_eps, norm_momentum, tensorflows="0.0003")
        check_choice("output_stride", output_stride, (8, 16, 32))
        check_choice("head_conv", head_conv, (True, False))
        check_choice("padding", padding, ("torch", "tf"))
        check_features(features, FEATURE_NAMES)
        self.mean = three(mean, "mean")
        self.std = three(std, "std")
        config: dict[str, Any] = {
            "_target_": "mnv2dense.backbones.MobileNetV1",
            "width_mult": width_mult,
            "output_stride": output_stride,
            "head_conv": head_conv,
            "padding": padding,
            "norm_eps": norm_eps,
            "norm_momentum": norm_momentum,
            "mean": list(self.mean),
            "std": list(self.std),
        }
        self.config = config  # annotated in two lines: TorchScript warns of an annotated attribute
        layer: dict[str, Any] = {"padding": padding, "norm_eps": norm_eps, "norm_momentum": norm_momentum}
        plan = layout(width_mult=width_mult, head_conv=head_conv)
        self._block_of_feature = {name: _BLOCK_OF_FEATURE[name] for name in features}
        last_block = max(self._block_of_feature.values())

        self.stem = ConvNormAct(3, plan.stem_channels, kernel=3, stride=2, **layer)
        blocks: list[nn.Module] = []
        info: dict[str, FeatureInfo] = {}
        stride, dilation = 2, 1
        for index, row in enumerate(plan.blocks[: last_block + 1]):
            # A stride past the output stride is not taken; the blocks after this one dilate by it instead.
            here = row.stride if stride < output_stride else 1
            blocks.append(_separable(row, stride=here, dilation=dilation, **layer))
            stride *= here
            dilation *= row.stride // here
            info |= {
                name: FeatureInfo(row.out_channels, stride)
                for name, block in self._block_of_feature.items()
                if block == index
            }
        self.blocks = nn.ModuleList(blocks)
        self.last_conv = None
        if head_conv and "last_conv" in features:
            self.last_conv = ConvNormAct(plan.blocks[-1].out_channels, plan.head_channels, kernel=1, **layer)
            info["last_conv"] = FeatureInfo(plan.head_channels, stride)
        self.feature_info = {name: info[name] for name in features}
        draw_weights(self)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W], normalised -> feature name -> [B, C, ceil(H / stride), ceil(W / stride)].

        Raises:
            TypeError: images of whole numbers, which were not normalised.
        """
        check_floats(images)
        found: dict[str, Tensor] = {}
        x = self.stem(images)
        for index, block in enumerate(self.blocks):
            x = block(x)
            for name, ends in self._block_of_feature.items():
                if ends == index:
                    found[name] = x
        if self.last_conv is not None:
            found["last_conv"] = self.last_conv(x)
        return {name: found[name] for name in self._block_of_feature}


def _separable(
    row: Row,
    *,
    stride: int,
    dilation: int,
    **layer: Any,  # noqa: ANN401 - ConvNormAct checks them
) -> nn.Sequential:
    """Filter depthwise 3x3, then mix channels 1x1, each with batch norm and ReLU6 (figure 3)."""
    inputs, outputs = row.in_channels, row.out_channels
    depthwise = ConvNormAct(inputs, inputs, kernel=3, stride=stride, dilation=dilation, groups=inputs, **layer)
    return nn.Sequential(OrderedDict(depthwise=depthwise, pointwise=ConvNormAct(inputs, outputs, kernel=1, **layer)))
