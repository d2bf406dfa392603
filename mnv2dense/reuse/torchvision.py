"""The backbone as the body of torchvision's detectors and segmentation models."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import final

from torch import Tensor, nn

from mnv2dense.backbones.mobilenet_v1 import MobileNetV1
from mnv2dense.backbones.mobilenet_v2 import MobileNetV2


@final
class PyramidBody(nn.Module):
    """A backbone under a feature pyramid: what torchvision's Faster, Mask and Keypoint R-CNN and RetinaNet take.

    The maps are named as torchvision's own are: "0" for the finest to "3" for the fourth, and "pool" for one more, of
    half the last one's size. With four features the detectors' default anchors and RoI pooling fit.

    Torchvision's detectors normalise their images themselves: give them ``image_mean=backbone.mean`` and
    ``image_std=backbone.std``, or they use ImageNet's.

    Args:
        backbone: built for its features from fine to coarse, best ``("stride4", "stride8", "stride16",
            "last_bottleneck")``.
        out_channels: of every map of the pyramid.

    Attributes:
        out_channels: as given; torchvision's detectors read it.

    Raises:
        ValueError: the features are not each coarser than the one before.
    """

    def __init__(self, backbone: MobileNetV2 | MobileNetV1, *, out_channels: int = 256) -> None:
        from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

        super().__init__()
        strides = [info.stride for info in backbone.feature_info.values()]
        if any(coarser <= finer for finer, coarser in pairwise(strides)):
            raise ValueError(
                f"features={list(backbone.feature_info)} have strides {strides}, but each level of a pyramid must be "
                "coarser than the one before. Take stride4, stride8, stride16 and last_bottleneck, at output_stride=32."
            )
        self.out_channels = out_channels
        self.body = RenamedFeatures(backbone, {str(level): name for level, name in enumerate(backbone.feature_info)})
        self.fpn = FeaturePyramidNetwork(
            [info.channels for info in backbone.feature_info.values()], out_channels, extra_blocks=LastLevelMaxPool()
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W], normalised -> "0", "1", ..., "pool" -> [B, out_channels, H / stride, W / stride]."""
        maps: dict[str, Tensor] = self.fpn(self.body(images))
        return maps


@final
class RenamedFeatures(nn.Module):
    """A backbone whose features carry the names that somebody else's model looks for.

    torchvision's DeepLabV3, FCN and LR-ASPP take ``{"out": ...}``, ``{"out": ..., "aux": ...}`` and
    ``{"low": ..., "high": ...}``.

    Args:
        backbone: built for the features that ``names`` speaks of.
        names: their name -> our name.

    Attributes:
        channels: their name -> the channels of that map.

    Raises:
        ValueError: the backbone was not built for one of them.
    """

    def __init__(self, backbone: MobileNetV2 | MobileNetV1, names: Mapping[str, str]) -> None:
        super().__init__()
        unknown = [ours for ours in names.values() if ours not in backbone.feature_info]
        if unknown or not names:
            raise ValueError(
                f"names={dict(names)}: the backbone was built for {list(backbone.feature_info)}. "
                f"Build it with features={list(names.values()) or ['last_bottleneck']}."
            )
        self.backbone = backbone
        self.channels = {theirs: backbone.feature_info[ours].channels for theirs, ours in names.items()}
        self._names = dict(names)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W], normalised -> their name -> [B, C, H / stride, W / stride]."""
        found = self.backbone(images)
        return {theirs: found[ours] for theirs, ours in self._names.items()}
