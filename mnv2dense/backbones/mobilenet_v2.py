"""MobileNetV2, which every model here begins with unless it says otherwise (Sandler et al. 2018, arXiv 1801.04381)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, final

from torch import Tensor, nn

from mnv2dense.backbones.blocks import Bottleneck, ConvNormAct, InvertedResidual, Padding, Shortcut, draw_weights
from mnv2dense.backbones.checks import (
    check_choice,
    check_features,
    check_floats,
    check_norm,
    check_numbers,
    check_width,
    three,
)
from mnv2dense.backbones.layout import FEATURE_NAMES, layout
from mnv2dense.types import FeatureInfo


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
        depth_mult: factor of the blocks of a stage, rounded up; 1 in the paper (timm's 110d and 120d have more).
        scale_ends: whether stem and last convolution follow ``width_mult``; timm's deeper models keep them.
        expansion: factor t of the inner width.
        bottleneck: see :data:`Bottleneck`.
        shortcut: see :data:`Shortcut`.
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
        depth_mult: float = 1.0,
        scale_ends: bool = True,
        expansion: int = 6,
        bottleneck: Bottleneck = "linear",
        shortcut: Shortcut = "bottleneck",
        padding: Padding = "torch",
        norm_eps: float = 1e-5,
        norm_momentum: float = 0.1,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
    ) -> None:
        super().__init__()
        check_numbers(
            width_mult=width_mult,
            depth_mult=depth_mult,
            expansion=expansion,
            norm_eps=norm_eps,
            norm_momentum=norm_momentum,
        )
        check_width(width_mult, published="0.35, 0.5, 0.75, 1.0, 1.3, 1.4")
        if not 1 <= depth_mult <= 8:
            raise ValueError(f"depth_mult={depth_mult} must be at least 1, the paper's depth, and at most 8.")
        if not 1 <= expansion <= 64 or expansion != int(expansion):
            raise ValueError(f"expansion={expansion} must be a whole number, 1 to 64; the paper's is 6.")
        check_norm(norm_eps, norm_momentum, tensorflows="0.003")
        check_choice("output_stride", output_stride, (8, 16, 32))
        check_choice("padding", padding, ("torch", "tf"))
        check_choice("bottleneck", bottleneck, ("linear", "relu6"))
        check_choice("shortcut", shortcut, ("bottleneck", "expansion", "none"))
        check_features(features, FEATURE_NAMES)
        self.mean = three(mean, "mean")
        self.std = three(std, "std")
        config: dict[str, Any] = {
            "_target_": "mnv2dense.backbones.MobileNetV2",
            "width_mult": width_mult,
            "output_stride": output_stride,
            "depth_mult": depth_mult,
            "scale_ends": scale_ends,
            "expansion": expansion,
            "bottleneck": bottleneck,
            "shortcut": shortcut,
            "padding": padding,
            "norm_eps": norm_eps,
            "norm_momentum": norm_momentum,
            "mean": list(self.mean),
            "std": list(self.std),
        }
        self.config = config  # annotated in two lines: TorchScript warns of an annotated attribute
        layer: dict[str, Any] = {"padding": padding, "norm_eps": norm_eps, "norm_momentum": norm_momentum}
        plan = layout(width_mult=width_mult, depth_mult=depth_mult, scale_ends=scale_ends, expansion=expansion)
        deepest = max(features, key=FEATURE_NAMES.index)
        last_block = plan.block_of_feature.get(deepest, len(plan.blocks) - 1)
        self._block_of_feature = {name: plan.block_of_feature.get(name, -1) for name in features}
        self._expanded_block = self._block_of_feature.get("stride16_expanded", -1)
        self._chain_expansions = shortcut == "expansion"

        self.stem = ConvNormAct(3, plan.stem_channels, kernel=3, stride=2, **layer)
        blocks: list[InvertedResidual] = []
        info: dict[str, FeatureInfo] = {}
        stride, dilation = 2, 1
        for index, row in enumerate(plan.blocks[: last_block + 1]):
            # A stride past the output stride is not taken; the blocks after this one dilate by it instead.
            here = row.stride if stride < output_stride else 1
            if index == self._expanded_block:
                info["stride16_expanded"] = FeatureInfo(row.in_channels * row.expansion, stride)
            blocks.append(
                InvertedResidual(
                    row.in_channels,
                    row.out_channels,
                    expansion=row.expansion,
                    stride=here,
                    dilation=dilation,
                    bottleneck=bottleneck,
                    shortcut=shortcut,
                    expansion_only=deepest == "stride16_expanded" and index == last_block,
                    **layer,
                )
            )
            stride *= here
            dilation *= row.stride // here
            info |= {
                name: FeatureInfo(row.out_channels, stride)
                for name, block in self._block_of_feature.items()
                if block == index and name != "stride16_expanded"
            }
        # nn.ModuleList forgets what it holds; an assertion in forward() would be beyond TorchScript.
        self.blocks = cast("Sequence[InvertedResidual]", nn.ModuleList(blocks))
        self.last_conv = None
        if deepest == "last_conv":
            self.last_conv = ConvNormAct(plan.blocks[-1].out_channels, plan.last_channels, kernel=1, **layer)
            info["last_conv"] = FeatureInfo(plan.last_channels, stride)
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
        before: Tensor | None = None
        for index, block in enumerate(self.blocks):
            if index == self._expanded_block or self._chain_expansions:
                expanded = block.expansion(x)
                if self._chain_expansions:
                    if before is not None and before.shape == expanded.shape:
                        expanded = expanded + before
                    before = expanded
                if index == self._expanded_block:
                    found["stride16_expanded"] = expanded
                x = block.contract(expanded, x)
            else:
                x = block(x)
            for name, ends in self._block_of_feature.items():
                if ends == index and name not in found:
                    found[name] = x
        if self.last_conv is not None:
            found["last_conv"] = self.last_conv(x)
        return {name: found[name] for name in self._block_of_feature}
