"""MobileNetV2, the one feature extractor of the house (Sandler et al. 2018, arXiv 1801.04381)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, final

import torch.nn.functional as F
from torch import Tensor, nn

from mnv2dense.pretrained import read_pretrained
from mnv2dense.types import FeatureInfo

Padding = Literal["torch", "tf"]
"""How stride-2 convolutions pad: torch one pixel on every side, TensorFlow's SAME only as much as it needs."""


class _Stage(NamedTuple):
    expansion: int
    channels: int
    blocks: int
    stride: int


# Table 2 of the paper, rows t c n s of the bottlenecks.
_STAGES = (
    _Stage(1, 16, 1, 1),
    _Stage(6, 24, 2, 2),
    _Stage(6, 32, 3, 2),
    _Stage(6, 64, 4, 2),
    _Stage(6, 96, 3, 1),
    _Stage(6, 160, 3, 2),
    _Stage(6, 320, 1, 1),
)

# Feature name -> index of the block that ends in it. `stride16_expanded` is the inside of block 13, the first of
# stride 32: its 1x1 expansion still sees stride 16 and is the widest map there, which is why SSDLite taps it.
_BLOCK_OF_FEATURE = {
    "stride2": 0,
    "stride4": 2,
    "stride8": 5,
    "stride16": 12,
    "stride16_expanded": 13,
    "last_bottleneck": 16,
}
_EXPANDED_BLOCK = _BLOCK_OF_FEATURE["stride16_expanded"]
FEATURE_NAMES = (*_BLOCK_OF_FEATURE, "last_conv")


def scaled_channels(channels: int, width_mult: float) -> int:
    """``channels * width_mult`` to the nearest multiple of 8, never falling by more than 10%.

    The rule of the authors' code; the paper's parameter counts at widths other than 1.0 follow from it.
    """
    wanted = channels * width_mult
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


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
            conv = nn.Conv2d(
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


class _SameConv2d(nn.Conv2d):
    """A stride-2 convolution padded as TensorFlow's SAME: an even side gets one pixel, at its end alone."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        needed = self.kernel_size[0] - self.stride[0]
        top, left = height % 2, width % 2
        return super().forward(F.pad(x, (left, needed, top, needed)))


@final
class InvertedResidual(nn.Module):
    """Expand 1x1, filter depthwise 3x3, project 1x1 linearly (section 3.3, figure 4b).

    Args:
        in_channels: channels in.
        out_channels: channels out.
        expansion: factor t of the inner width; at 1 there is no expansion layer.
        stride: of the depthwise convolution.
        dilation: of the depthwise convolution.
        expansion_only: build no further than the expansion; for a backbone whose deepest feature is that.
        layer: padding and batch-norm options, passed to every :class:`ConvNormAct`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        expansion: int,
        stride: int,
        dilation: int = 1,
        expansion_only: bool = False,
        **layer: Any,  # noqa: ANN401 - ConvNormAct checks them
    ) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.shortcut = stride == 1 and in_channels == out_channels
        self.expansion_only = expansion_only
        self.expansion = ConvNormAct(in_channels, inner, kernel=1, **layer) if expansion > 1 else nn.Identity()
        if not expansion_only:
            self.depthwise = ConvNormAct(
                inner, inner, kernel=3, stride=stride, dilation=dilation, groups=inner, **layer
            )
            self.projection = ConvNormAct(inner, out_channels, kernel=1, linear=True, **layer)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H / stride, W / stride]."""
        return self.contract(self.expansion(x), x)

    def contract(self, expanded: Tensor, x: Tensor) -> Tensor:
        """The second half: filter and project the expanded tensor, add the block's input where shapes allow."""
        projected: Tensor = self.projection(self.depthwise(expanded))
        return projected + x if self.shortcut else projected


@final
class MobileNetV2(nn.Module):
    """The paper's feature extractor, as deep as the deepest feature asked for.

    Features, with channels at width 1.0: ``stride2`` (16), ``stride4`` (24), ``stride8`` (32), ``stride16`` (96),
    ``stride16_expanded`` (576, SSDLite's first map), ``last_bottleneck`` (320), ``last_conv`` (1280). The names
    speak of output stride 32; with a smaller ``output_stride`` the deep ones keep name and channels, and
    ``feature_info`` tells their true stride.

    Args:
        width_mult: width multiplier; below 1 the last convolution stays at 1280 channels (section 5).
        output_stride: 8, 16 or 32: strides past it become dilations (atrous convolution, as DeepLab does).
        features: names to return, in this order.
        padding: how stride-2 convolutions pad; belongs to the weights.
        norm_eps: batch norm's epsilon; belongs to the weights (TensorFlow 1e-3, torch 1e-5).
        norm_momentum: weight of the newest batch in the running statistics (TensorFlow 0.003, torch 0.1).
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
        padding: Padding = "torch",
        norm_eps: float = 1e-5,
        norm_momentum: float = 0.1,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
    ) -> None:
        super().__init__()
        _check_options(width_mult, output_stride, features, padding)
        self.config: dict[str, Any] = {
            "_target_": "mnv2dense.backbones.mobilenet_v2.MobileNetV2",
            "width_mult": width_mult,
            "output_stride": output_stride,
            "padding": padding,
            "norm_eps": norm_eps,
            "norm_momentum": norm_momentum,
            "mean": list(mean),
            "std": list(std),
        }
        self.mean = _three(mean, "mean")
        self.std = _three(std, "std")
        self._features = tuple(features)
        layer: dict[str, Any] = {"padding": padding, "norm_eps": norm_eps, "norm_momentum": norm_momentum}
        depth = max(FEATURE_NAMES.index(name) for name in features)
        deepest = FEATURE_NAMES[depth]
        last_block = _BLOCK_OF_FEATURE.get(deepest, 16)

        channels = scaled_channels(32, width_mult)
        self.stem = ConvNormAct(3, channels, kernel=3, stride=2, **layer)
        self.blocks = nn.ModuleList()
        info: dict[str, FeatureInfo] = {}
        stride, dilation = 2, 1
        for expansion, width, step in _block_rows():
            index = len(self.blocks)
            if index > last_block:
                break
            # A stride past the output stride is not taken; the blocks after this one dilate by it instead.
            here = step if stride < output_stride else 1
            wide = scaled_channels(width, width_mult)
            if index == _EXPANDED_BLOCK:
                info["stride16_expanded"] = FeatureInfo(channels * expansion, stride)
            self.blocks.append(
                InvertedResidual(
                    channels,
                    wide,
                    expansion=expansion,
                    stride=here,
                    dilation=dilation,
                    expansion_only=deepest == "stride16_expanded" and index == _EXPANDED_BLOCK,
                    **layer,
                )
            )
            stride *= here
            dilation *= step // here
            channels = wide
            for name, block in _BLOCK_OF_FEATURE.items():
                if block == index and name != "stride16_expanded":
                    info[name] = FeatureInfo(channels, stride)
        self.last_conv: ConvNormAct | None = None
        if deepest == "last_conv":
            wide = max(1280, scaled_channels(1280, width_mult))
            self.last_conv = ConvNormAct(channels, wide, kernel=1, **layer)
            info["last_conv"] = FeatureInfo(wide, stride)
        self.feature_info = {name: info[name] for name in features}
        self._reset_parameters()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W], normalised -> feature name -> [B, C, ceil(H / stride), ceil(W / stride)]."""
        found: dict[str, Tensor] = {}
        x = self.stem(images)
        for index, block in enumerate(self.blocks):
            assert isinstance(block, InvertedResidual)
            if index == _EXPANDED_BLOCK and "stride16_expanded" in self._features:
                expanded = found["stride16_expanded"] = block.expansion(x)
                if not block.expansion_only:
                    x = block.contract(expanded, x)
            else:
                x = block(x)
            for name, ends in _BLOCK_OF_FEATURE.items():
                if ends == index and name in self._features and name not in found:
                    found[name] = x
        if self.last_conv is not None:
            found["last_conv"] = self.last_conv(x)
        return {name: found[name] for name in self._features}

    def _reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")


def mobilenet_v2(
    *,
    width_mult: float = 1.0,
    output_stride: int = 32,
    features: Sequence[str] = ("last_conv",),
    weights: str | Path | None = None,
    padding: Padding | None = None,
    norm_eps: float | None = None,
    norm_momentum: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> MobileNetV2:
    """A :class:`MobileNetV2`, from pretrained weights if ``weights`` names some.

    Padding, batch-norm constants and normalisation belong to the weights and come with them; naming one here
    overrides it. Without weights they are torch's (see :class:`MobileNetV2`).

    Args:
        width_mult: width multiplier; must be the weights' own.
        output_stride: 8, 16 or 32.
        features: names to return.
        weights: a Hugging Face folder (config.json + model.safetensors), or None for random weights.
        padding: override.
        norm_eps: override.
        norm_momentum: override; fine-tuning for a few hundred steps wants more than TensorFlow's 0.003.
        mean: override.
        std: override.

    Raises:
        ValueError: weights of another width, or not a MobileNetV2.
        FileNotFoundError: no such weights.
    """
    options: dict[str, Any] = {}
    pretrained = None
    if weights is not None:
        pretrained = read_pretrained(weights)
        if pretrained.width_mult != width_mult:
            raise ValueError(
                f"{weights}: these weights have width_mult={pretrained.width_mult}, the model asks for {width_mult}. "
                f"Set backbone.width_mult={pretrained.width_mult}, or choose weights of that width."
            )
        options = dict(pretrained.options)
    overrides = {"padding": padding, "norm_eps": norm_eps, "norm_momentum": norm_momentum, "mean": mean, "std": std}
    options |= {name: value for name, value in overrides.items() if value is not None}
    model = MobileNetV2(width_mult=width_mult, output_stride=output_stride, features=features, **options)
    if pretrained is not None:
        wanted = model.state_dict()
        missing = sorted(wanted.keys() - pretrained.state_dict.keys())
        if missing:
            raise ValueError(
                f"{weights}: {len(missing)} tensors of the backbone are missing, first {missing[0]!r}. "
                "The file is not a whole MobileNetV2 of the paper's layout."
            )
        model.load_state_dict({name: pretrained.state_dict[name] for name in wanted})
    return model


def _block_rows() -> list[tuple[int, int, int]]:
    """(expansion, channels, stride) of each of the 17 blocks; a stage's stride is its first block's."""
    return [
        (stage.expansion, stage.channels, stage.stride if i == 0 else 1)
        for stage in _STAGES
        for i in range(stage.blocks)
    ]


def _check_options(width_mult: float, output_stride: int, features: Sequence[str], padding: str) -> None:
    if width_mult <= 0:
        raise ValueError(f"width_mult={width_mult} must be positive; the paper's are 0.35, 0.5, 0.75, 1.0, 1.3, 1.4.")
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride={output_stride} must be 8, 16 or 32.")
    if padding not in ("torch", "tf"):
        raise ValueError(f"padding={padding!r} must be 'torch' or 'tf' (what the weights were trained with).")
    if isinstance(features, str) or not features:
        raise ValueError(f"features={features!r} must be a non-empty list of {', '.join(FEATURE_NAMES)}.")
    unknown = [name for name in features if name not in FEATURE_NAMES]
    if unknown or len(set(features)) != len(features):
        raise ValueError(f"features={list(features)}: each must be one of {', '.join(FEATURE_NAMES)}, and named once.")


def _three(values: Sequence[float], name: str) -> tuple[float, float, float]:
    if len(values) != 3:
        raise ValueError(f"{name}={list(values)} must have three values, one for each of R, G and B.")
    return (float(values[0]), float(values[1]), float(values[2]))
