"""A detector without anchors: every point of four maps says what it sees and how far the sides of its box are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, final

import torch
from torch import Tensor, nn

from mnv2dense.backbones.blocks import BatchNorm
from mnv2dense.backbones.depthwise import DepthwiseConv2d
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

    Classes are also read from wider features of the backbone, past neck and tower, by predictors as SSDLite's: what
    ImageNet taught is a linear layer away there, and is learnt before the neck is.

    Args:
        features: the backbone's maps, the finest first, each of twice the stride of the one before; and those that
            ``class_features`` names, anywhere between.
        size: (height, width) of the model's input, pixels; points are laid for it.
        class_names: the K classes.
        class_features: of ``features`` those that the neck does not get and classes are read from; each has the stride
            of one of the neck's maps. The coarsest also serves the level that the neck makes.
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
        rate_factor: the learning rate that suits it, as a factor of SSDLite's.
        scores: "quality": sigmoids that say how good the box is; a loss that names its own is compared with it.

    Raises:
        ValueError: features that do not halve, no classes, or an option outside its values.
    """

    task = "detection"
    title = "points"
    rate_factor = 3.0
    scores: Literal["quality"] = "quality"

    def __init__(
        self,
        features: Mapping[str, FeatureInfo],
        *,
        size: tuple[int, int],
        class_names: Sequence[str],
        class_features: Sequence[str] = (),
        channels: int = 88,
        tower_layers: int = 1,
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
            raise ValueError(f"tower_layers={tower_layers}: a tower has at least one layer, as is usual.")
        if lacking := [name for name in class_features if name not in features]:
            raise ValueError(
                f"class_features={list(class_features)}: {lacking[0]} is not among the head's features, "
                f"{', '.join(features)}; add it there."
            )
        self.config: dict[str, Any] = {
            "_target_": "mnv2dense.heads.PointHead",
            "features": list(features),
            "class_features": list(class_features),
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
        through_neck = {name: info for name, info in features.items() if name not in class_features}
        self.neck = PathAggregation(through_neck, channels=channels, **norm)
        levels = len(self.neck.strides)
        self.class_tower = _tower(channels, tower_layers, levels, norm)
        self.box_tower = _tower(channels, tower_layers, levels, norm)
        self.class_predictor = LevelPredictor(channels, len(class_names), levels=levels)
        self.box_predictor = LevelPredictor(channels, 4, levels=levels)
        self._read_by = _levels_of({name: features[name] for name in class_features}, self.neck.strides)
        self.class_shortcuts = cast(
            "Sequence[nn.Sequential]",
            nn.ModuleList(
                _shortcut(features[name].channels, len(class_names), stride, norm) for name, _, stride in self._read_by
            ),
        )
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
        return self.read(self.neck(features), size, features)

    def read(self, maps: Sequence[Tensor], size: tuple[int, int], features: Mapping[str, Tensor]) -> PointPredictions:
        """The same from the neck's maps; ``features`` are the backbone's, of which the ``class_features`` are read."""
        shortcuts = {
            level: shortcut(features[name])
            for (name, level, _), shortcut in zip(self._read_by, self.class_shortcuts, strict=True)
        }
        distances, logits, counts = [], [], []
        for level, x in enumerate(maps):
            of_class = of_box = x
            for layer in self.class_tower:
                of_class = layer(of_class, level)
            for layer in self.box_tower:
                of_box = layer(of_box, level)
            said = self.class_predictor(of_class, level)
            logits.append(_per_point(said + shortcuts[level] if level in shortcuts else said))
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
        tensors = ["class_predictor.conv", *(f"class_shortcuts.{place}.3" for place in range(len(self._read_by)))]
        return {f"{tensor}.{kind}": labels for tensor in tensors for kind in ("weight", "bias")}

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
        for shortcut in self.class_shortcuts:
            nn.init.normal_(cast(nn.Conv2d, shortcut[-1]).weight, std=0.01)
            nn.init.zeros_(cast(Tensor, cast(nn.Conv2d, shortcut[-1]).bias))


def _tower(channels: int, layers: int, levels: int, norm: Mapping[str, Any]) -> Sequence[LevelConv]:
    made: list[LevelConv] = []
    for _ in range(layers):
        made.append(LevelConv(channels, channels, levels=levels, kernel=5, depthwise=True, **norm))
        made.append(LevelConv(channels, channels, levels=levels, **norm))
    # nn.ModuleList forgets what it holds.
    return cast("Sequence[LevelConv]", nn.ModuleList(made))


def _levels_of(features: Mapping[str, FeatureInfo], strides: Sequence[int]) -> list[tuple[str, int, int]]:
    """Which feature classes of which level are read from, and by which stride; ordered by level."""
    read = []
    for name, info in features.items():
        if info.stride not in strides[:-1]:
            raise ValueError(
                f"class_features: {name} has stride {info.stride}, and the neck's maps {list(strides[:-1])}; take "
                "features of their strides."
            )
        read.append((name, strides.index(info.stride), 1))
        if info.stride == strides[-2]:
            read.append((name, len(strides) - 1, 2))
    if len({level for _, level, _ in read}) < len(read):
        raise ValueError(f"class_features={list(features)}: two of them have the same stride; take one for each.")
    return sorted(read, key=lambda each: each[1])


def _shortcut(channels: int, classes: int, stride: int, norm: Mapping[str, Any]) -> nn.Sequential:
    """Depthwise 3x3 and a linear layer, SSDLite's predictor."""
    return nn.Sequential(
        DepthwiseConv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False),
        BatchNorm(channels, eps=norm["norm_eps"], momentum=norm["norm_momentum"]),
        nn.ReLU6(inplace=True),
        nn.Conv2d(channels, classes, 1),
    )


def _per_point(x: Tensor) -> Tensor:
    """[B, columns, h, w] -> [B, h * w, columns], in the order of the points."""
    return x.flatten(2).transpose(1, 2)
