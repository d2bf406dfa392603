"""SSDLite: SSD with every 3x3 convolution made depthwise separable (MobileNetV2 paper, section 6.2)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from mnv2dense.backbones.blocks import BatchNorm
from mnv2dense.backbones.depthwise import DepthwiseConv2d
from mnv2dense.ops.anchors import anchors_per_cell, default_boxes, map_sizes
from mnv2dense.ops.boxes import clip, decode
from mnv2dense.ops.postprocess import BoxSelection
from mnv2dense.protocols import NO_CLASS
from mnv2dense.types import BoxPredictions, FeatureInfo, ScoredBoxes

# A sigmoid's prior: each anchor starts at this probability of each class, or the sum over thousands of background
# anchors would dominate the first steps (focal loss paper, section 3.3).
_PRIOR = 0.01


@final
class SSDLiteHead(nn.Module):
    """Boxes and class scores on six feature maps: two of the backbone, four of its own.

    Args:
        features: the two backbone maps, finer first (``stride16_expanded`` and ``last_conv`` in the paper).
        size: (height, width) of the model's input, pixels; anchors are laid out for it.
        class_names: the K classes, without background.
        scores: "softmax" adds a background column (K + 1 logits); "sigmoid" has K independent ones, for focal loss.
        extra_channels: of the extra maps, each half the size of the one before.
        first_map_anchors: 3 as in TensorFlow's config, or 6 like the other maps.
        score_threshold: :attr:`selection` drops boxes below it.
        nms_threshold: IoU above which the lower-scored box of the same class is dropped.
        candidates: how many of the best-scored (anchor, class) pairs enter NMS.
        limit: how many boxes an image keeps at most.
        norm_eps: batch norm's epsilon in the head.
        norm_momentum: weight of the newest batch in the head's running statistics.

    Attributes:
        scores: as given; a loss that names its own is compared with it.

    Raises:
        ValueError: not two features of which the second is half the size, or an option outside its values.
    """

    task = "detection"
    title = "SSDLite"

    def __init__(
        self,
        features: Mapping[str, FeatureInfo],
        *,
        size: tuple[int, int],
        class_names: Sequence[str],
        scores: Literal["softmax", "sigmoid"] = "softmax",
        extra_channels: Sequence[int] = (512, 256, 256, 128),
        first_map_anchors: Literal[3, 6] = 3,
        score_threshold: float = 0.01,
        nms_threshold: float = 0.6,
        candidates: int = 1000,
        limit: int = 100,
        norm_eps: float = 1e-3,
        norm_momentum: float = 0.03,
    ) -> None:
        super().__init__()
        if len(features) != 2:
            raise ValueError(f"SSDLite reads two feature maps of the backbone, got {list(features)}.")
        first, second = features.values()
        if second.stride != 2 * first.stride:
            raise ValueError(
                f"SSDLite's maps halve from one to the next, but {list(features)} have strides {first.stride} and "
                f"{second.stride}; use output_stride=32 with stride16_expanded and last_conv."
            )
        if scores not in ("softmax", "sigmoid"):
            raise ValueError(f"scores={scores!r} must be 'softmax' (loss=multibox) or 'sigmoid' (loss=focal).")
        if not class_names:
            raise ValueError("class_names is empty: a detector needs at least one class.")
        self.config: dict[str, Any] = {
            "_target_": "mnv2dense.heads.SSDLiteHead",
            "features": list(features),
            "scores": scores,
            "extra_channels": list(extra_channels),
            "first_map_anchors": first_map_anchors,
            "score_threshold": score_threshold,
            "nms_threshold": nms_threshold,
            "candidates": candidates,
            "limit": limit,
            "norm_eps": norm_eps,
            "norm_momentum": norm_momentum,
        }
        self.class_names = tuple(class_names)
        self.selection = BoxSelection(self.class_names, score_threshold, nms_threshold, candidates, limit)
        self.scores = scores
        self._softmax = scores == "softmax"
        self._first_map_anchors = first_map_anchors
        self._features = tuple(features)
        self._size = (int(size[0]), int(size[1]))
        self._columns = len(class_names) + int(self._softmax)

        norm = {"eps": norm_eps, "momentum": norm_momentum}
        channels = [first.channels, second.channels, *extra_channels]
        self.extra = nn.ModuleList(_extra_layer(before, after, norm) for before, after in pairwise(channels[1:]))
        cells = anchors_per_cell(maps=len(channels), first_map_anchors=first_map_anchors)
        self.box_predictors = nn.ModuleList(
            _predictor(wide, 4 * count, norm) for wide, count in zip(channels, cells, strict=True)
        )
        self.class_predictors = nn.ModuleList(
            _predictor(wide, self._columns * count, norm) for wide, count in zip(channels, cells, strict=True)
        )
        self._reset_parameters()
        sizes = map_sizes(self._size, first_stride=first.stride, count=len(channels))
        self.anchors: Tensor
        # Not in checkpoints: they follow from the config, and another input size must be able to load the weights.
        self.register_buffer("anchors", self._lay_anchors(sizes, self._size), persistent=False)

    def forward(self, features: Mapping[str, Tensor], size: tuple[int, int]) -> BoxPredictions:
        """Raw predictions for images of ``size`` (height, width): deltas and logits of every anchor."""
        maps = [features[name] for name in self._features]
        for layer in self.extra:
            maps.append(layer(maps[-1]))
        deltas = [_per_anchor(predict(x), 4) for predict, x in zip(self.box_predictors, maps, strict=True)]
        logits = [
            _per_anchor(predict(x), self._columns) for predict, x in zip(self.class_predictors, maps, strict=True)
        ]
        anchors = self.anchors
        if size != self._size:
            sizes = [(x.shape[-2], x.shape[-1]) for x in maps]
            anchors = self._lay_anchors(sizes, size).to(anchors.device)
        return BoxPredictions(torch.cat(deltas, 1), torch.cat(logits, 1), anchors)

    def decode(self, raw: BoxPredictions, size: tuple[int, int]) -> ScoredBoxes:
        """Boxes in pixels of the model's input, clipped to its ``size``, and scores without background."""
        logits = raw.logits.float()
        scores = logits.softmax(-1)[..., 1:] if self._softmax else logits.sigmoid()
        boxes = decode(raw.deltas.float(), raw.anchors)
        return ScoredBoxes(clip(boxes, *size), scores)

    def class_rows(self) -> dict[str, list[int]]:
        """Of each class predictor's last convolution: the columns of one anchor after the other's.

        See :class:`mnv2dense.protocols.ClassRows`. Boxes are the same for all classes, so their predictors have none.
        """
        columns = [NO_CLASS] * int(self._softmax) + list(range(len(self.class_names)))
        rows = {}
        for number, predictor in enumerate(self.class_predictors):
            last = len(predictor) - 1  # type: ignore[arg-type]  # ModuleList forgets that its members are Sequential
            anchors = predictor[-1].out_channels // self._columns  # type: ignore[index]
            for field in ("weight", "bias"):
                rows[f"class_predictors.{number}.{last}.{field}"] = columns * anchors
        return rows

    def _lay_anchors(self, sizes: Sequence[tuple[int, int]], size: tuple[int, int]) -> Tensor:
        return default_boxes(sizes, size, first_map_anchors=self._first_map_anchors)

    def _reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        for predictors in (self.box_predictors, self.class_predictors):
            for predictor in predictors:
                last = predictor[-1]  # type: ignore[index]  # ModuleList forgets that its members are Sequential
                nn.init.normal_(last.weight, std=0.01)
                nn.init.zeros_(last.bias)
        if not self._softmax:
            for predictor in self.class_predictors:
                nn.init.constant_(predictor[-1].bias, -math.log((1 - _PRIOR) / _PRIOR))  # type: ignore[index]


def _conv(
    before: int, after: int, norm: Mapping[str, Any], *, stride: int = 1, depthwise: bool = False
) -> nn.Sequential:
    kernel = 3 if depthwise else 1
    kind = DepthwiseConv2d if stride > 1 else nn.Conv2d
    conv = kind(before, after, kernel, stride, kernel // 2, groups=before if depthwise else 1, bias=False)
    return nn.Sequential(conv, BatchNorm(after, **norm), nn.ReLU6(inplace=True))


def _extra_layer(before: int, after: int, norm: Mapping[str, Any]) -> nn.Sequential:
    """Squeeze to half the width, halve the map depthwise, widen again."""
    half = after // 2
    return nn.Sequential(
        _conv(before, half, norm),
        _conv(half, half, norm, stride=2, depthwise=True),
        _conv(half, after, norm),
    )


def _predictor(channels: int, outputs: int, norm: Mapping[str, Any]) -> nn.Sequential:
    """Depthwise 3x3 and a 1x1 with bias: SSD's 3x3 predictor, made separable."""
    return nn.Sequential(_conv(channels, channels, norm, depthwise=True), nn.Conv2d(channels, outputs, 1))


def _per_anchor(x: Tensor, columns: int) -> Tensor:
    """[B, cell anchors * columns, h, w] -> [B, h * w * cell anchors, columns], in the order of the anchors."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, columns)
