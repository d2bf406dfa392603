"""A detector without anchors: every point of four maps says what it sees and how far the sides of its box are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, final

import torch
from torch import Tensor, nn

from mnv2dense.heads.level_conv import LevelConv, LevelPredictor
from mnv2dense.heads.path_aggregation import PathAggregation
from mnv2dense.ops.boxes import clip
from mnv2dense.ops.points import boxes_at, lay_points
from mnv2dense.ops.postprocess import BoxSelection
from mnv2dense.types import FeatureInfo, PointPredictions, ScoredBoxes

# Each point starts at this probability of each class (focal loss paper, section 3.3).
_PRIOR = 0.01

# Of the distances to begin with, in strides: boxes of four cells, which every level can reach from quickly.
_FIRST_DISTANCE = 2.0


@final
class PointHead(nn.Module):
    """One head for all levels of a pyramid, on strides 8 to 64: classes and distances (FCOS, section 3).

    A :class:`mnv2dense.heads.path_aggregation.PathAggregation` neck makes the maps; two towers of depthwise separable
    convolutions, shared by all levels with batch norms of their own, look at them. A point says one distance to each
    side of its box in strides, linear, and no distribution over bins: eight bits are enough for it.

    Args:
        features: the backbone's maps, the finest first, each of twice the stride of the one before.
        size: (height, width) of the model's input, pixels; points are laid for it.
        class_names: the K classes.
        channels: of neck and towers.
        tower_layers: separable convolutions in each tower.
        score_threshold: :attr:`selection` drops boxes below it.
        nms_threshold: IoU above which the lower-scored box of the same class is dropped.
        candidates: how many of the best-scored (point, class) pairs enter NMS.
        limit: how many boxes an image keeps at most.
        norm_eps: batch norm's epsilon in neck and towers.
        norm_momentum: weight of the newest batch in their running statistics.

    Attributes:
        title: in a model's name.
        scores: "quality": sigmoids that say how good the box is; a loss that names its own is compared with it.

    Raises:
        ValueError: features that do not halve, no classes, or an option outside its values.
    """

    task = "detection"
    title = "points"
    scores: Literal["quality"] = "quality"

    def __init__(
        self,
        features: Mapping[str, FeatureInfo],
        *,
        size: tuple[int, int],
        class_names: Sequence[str],
        channels: int = 96,
        tower_layers: int = 2,
        score_threshold: float = 0.01,
        nms_threshold: float = 0.6,
        candidates: int = 1000,
        limit: int = 100,
        norm_eps: float = 1e-3,
        norm_momentum: float = 0.03,
    ) -> None:
        super().__init__()
        if not class_names:
            raise ValueError("class_names is empty: a detector needs at least one class.")
        if tower_layers < 1:
            raise ValueError(f"tower_layers={tower_layers}: a tower has at least one layer; 2 is usual.")
        self.config: dict[str, Any] = {
            "_target_": "mnv2dense.heads.PointHead",
            "features": list(features),
            "channels": channels,
            "tower_layers": tower_layers,
            "score_threshold": score_threshold,
            "nms_threshold": nms_threshold,
            "candidates": candidates,
            "limit": limit,
            "norm_eps": norm_eps,
            "norm_momentum": norm_momentum,
        }
        self.class_names = tuple(class_names)
        self.selection = BoxSelection(self.class_names, score_threshold, nms_threshold, candidates, limit)

        norm: dict[str, Any] = {"norm_eps": norm_eps, "norm_momentum": norm_momentum}
        self.neck = PathAggregation(features, channels=channels, **norm)
        levels = len(self.neck.strides)
        self.class_tower = _tower(channels, tower_layers, levels, norm)
        self.box_tower = _tower(channels, tower_layers, levels, norm)
        self.class_predictor = LevelPredictor(channels, len(class_names), levels=levels)
        self.box_predictor = LevelPredictor(channels, 4, levels=levels)
        self._reset_parameters()
        self.points: Tensor
        self.strides: Tensor
        self.lay(size)

    def lay(self, size: tuple[int, int]) -> None:
        """Lay the points for inputs of ``size`` (height, width), instead of those that they were laid for."""
        self._size = (int(size[0]), int(size[1]))
        sizes = [(math.ceil(self._size[0] / s), math.ceil(self._size[1] / s)) for s in self.neck.strides]
        points, strides = lay_points(sizes, self.neck.strides)
        # Not in checkpoints: they follow from the config, and another input size must be able to load the weights.
        device = next(self.parameters()).device
        self.register_buffer("points", points.to(device), persistent=False)
        self.register_buffer("strides", strides.to(device), persistent=False)

    def forward(self, features: Mapping[str, Tensor], size: tuple[int, int]) -> PointPredictions:
        """Raw predictions for images of ``size`` (height, width)."""
        return self.read(self.neck(features), size)

    def read(self, maps: Sequence[Tensor], size: tuple[int, int]) -> PointPredictions:
        """The same from the neck's maps."""
        distances, logits, counts = [], [], []
        for level, x in enumerate(maps):
            of_class = of_box = x
            for layer in self.class_tower:
                of_class = layer(of_class, level)
            for layer in self.box_tower:
                of_box = layer(of_box, level)
            logits.append(_per_point(self.class_predictor(of_class, level)))
            distances.append(_per_point(self.box_predictor(of_box, level)))
            counts.append(x.shape[-2] * x.shape[-1])
        points, strides = self.points, self.strides
        if size != self._size:
            laid = lay_points([(x.shape[-2], x.shape[-1]) for x in maps], self.neck.strides)
            points, strides = (part.to(self.points.device) for part in laid)
        return PointPredictions(torch.cat(distances, 1), torch.cat(logits, 1), points, strides, tuple(counts))

    def decode(self, raw: PointPredictions, size: tuple[int, int]) -> ScoredBoxes:
        """Boxes in pixels of the model's input, clipped to its ``size``, and a score for each class."""
        left, top, right, bottom = clip(boxes_at(raw.distances.float(), raw.points, raw.strides), *size).unbind(-1)
        # Sides that have changed places enclose nothing.
        boxes = torch.stack((left, top, torch.maximum(left, right), torch.maximum(top, bottom)), dim=-1)
        return ScoredBoxes(boxes, raw.logits.float().sigmoid())

    def class_rows(self) -> dict[str, list[int]]:
        """A row for each class; see :class:`mnv2dense.protocols.ClassRows`."""
        labels = list(range(len(self.class_names)))
        return {"class_predictor.conv.weight": labels, "class_predictor.conv.bias": labels}

    def _reset_parameters(self) -> None:
        for tower in (self.class_tower, self.box_tower):
            for module in cast("nn.Module", tower).modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, mode="fan_out")
        first = ((self.class_predictor, -math.log((1 - _PRIOR) / _PRIOR)), (self.box_predictor, _FIRST_DISTANCE))
        for predictor, bias in first:
            assert predictor.conv is not None
            assert predictor.conv.bias is not None
            nn.init.normal_(predictor.conv.weight, std=0.01)
            nn.init.constant_(predictor.conv.bias, bias)


def _tower(channels: int, layers: int, levels: int, norm: Mapping[str, Any]) -> Sequence[LevelConv]:
    made: list[LevelConv] = []
    for _ in range(layers):
        made.append(LevelConv(channels, channels, levels=levels, kernel=5, depthwise=True, **norm))
        made.append(LevelConv(channels, channels, levels=levels, **norm))
    # nn.ModuleList forgets what it holds.
    return cast("Sequence[LevelConv]", nn.ModuleList(made))


def _per_point(x: Tensor) -> Tensor:
    """[B, columns, h, w] -> [B, h * w, columns], in the order of the points."""
    return x.flatten(2).transpose(1, 2)
