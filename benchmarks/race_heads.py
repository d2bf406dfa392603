"""Detectors that run in ``detector_race.py`` and are no part of mnv2dense: heads of a package of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mnv2dense.heads.path_aggregation import PathAggregation
from mnv2dense.heads.points import PointHead
from mnv2dense.losses import TaskAlignedLoss
from mnv2dense.ops.anchors import default_boxes
from mnv2dense.ops.boxes import clip, decode
from mnv2dense.ops.postprocess import BoxSelection
from mnv2dense.types import Batch, BoxPredictions, FeatureInfo, PointPredictions, ScoredBoxes

# Of the image's side, for strides 8, 16, 32 and 64.
SCALES = (0.07, 0.18, 0.4, 0.75)
ANCHORS = 6

# What PointHead reads classes from.
CLASS_FEATURES = ("stride16_expanded", "last_conv")


class PyramidSSDLite(nn.Module):
    """SSDLite's anchors, predictors and softmax on the maps of a path-aggregation neck, the first of stride 8."""

    task = "detection"
    scores = "softmax"

    def __init__(
        self,
        features: Mapping[str, FeatureInfo],
        *,
        size: tuple[int, int],
        class_names: Sequence[str],
        channels: int = 96,
        norm_eps: float = 1e-3,
        norm_momentum: float = 0.03,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "_target_": "race_heads.PyramidSSDLite",
            "features": list(features),
            "channels": channels,
            "norm_eps": norm_eps,
            "norm_momentum": norm_momentum,
        }
        self.class_names = tuple(class_names)
        self.selection = BoxSelection(self.class_names, 0.01, 0.6, 1000, 100)
        self.neck = PathAggregation(features, channels=channels, norm_eps=norm_eps, norm_momentum=norm_momentum)
        self.columns = len(class_names) + 1

        def predictor(outputs: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
                nn.BatchNorm2d(channels, eps=norm_eps, momentum=norm_momentum),
                nn.ReLU6(inplace=True),
                nn.Conv2d(channels, outputs, 1),
            )

        self.box_predictors = nn.ModuleList(predictor(4 * ANCHORS) for _ in self.neck.strides)
        self.class_predictors = nn.ModuleList(predictor(self.columns * ANCHORS) for _ in self.neck.strides)
        for module in (*self.box_predictors, *self.class_predictors):
            nn.init.normal_(module[-1].weight, std=0.01)
            nn.init.zeros_(module[-1].bias)

    def forward(self, features: Mapping[str, Tensor], size: tuple[int, int]) -> BoxPredictions:
        """See :class:`mnv2dense.protocols.Head`."""
        maps = self.neck(features)

        def per_anchor(x: Tensor, columns: int) -> Tensor:
            return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, columns)

        deltas = [per_anchor(predict(x), 4) for predict, x in zip(self.box_predictors, maps, strict=True)]
        logits = [per_anchor(predict(x), self.columns) for predict, x in zip(self.class_predictors, maps, strict=True)]
        sizes = [(x.shape[-2], x.shape[-1]) for x in maps]
        anchors = default_boxes(sizes, size, scales=SCALES, first_map_anchors=6).to(maps[0].device)
        return BoxPredictions(torch.cat(deltas, 1), torch.cat(logits, 1), anchors)

    def decode(self, raw: BoxPredictions, size: tuple[int, int]) -> ScoredBoxes:
        """See :class:`mnv2dense.protocols.Head`."""
        scores = raw.logits.float().softmax(-1)[..., 1:]
        return ScoredBoxes(clip(decode(raw.deltas.float(), raw.anchors), *size), scores)


class GuidedPredictions(NamedTuple):
    """What the head says, and what the auxiliary one beside it says."""

    main: PointPredictions
    guide: PointPredictions


class GuidedPointHead(nn.Module):
    """A :class:`PointHead` with an auxiliary head that is used in training alone (NanoDet-Plus).

    The guide sees the same maps through dense 3x3 convolutions, so it learns faster; points are matched by what it
    says.
    """

    task = "detection"
    scores = "quality"

    def __init__(
        self, features: Mapping[str, FeatureInfo], *, size: tuple[int, int], class_names: Sequence[str]
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"_target_": "race_heads.GuidedPointHead", "features": list(features)}
        self.main = PointHead(features, size=size, class_names=class_names, class_features=CLASS_FEATURES)
        self.class_names, self.selection = self.main.class_names, self.main.selection
        classes, boxes = self.main.class_predictor.conv, self.main.box_predictor.conv
        assert classes is not None
        assert boxes is not None
        channels = classes.in_channels

        def layer() -> nn.Sequential:
            conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            return nn.Sequential(conv, nn.GroupNorm(16, channels), nn.ReLU6(inplace=True))

        self.guide = nn.Sequential(layer(), layer())
        self.guide_classes = nn.Conv2d(channels, len(class_names), 1)
        self.guide_boxes = nn.Conv2d(channels, 4, 1)
        self.guide_classes.load_state_dict(classes.state_dict())
        self.guide_boxes.load_state_dict(boxes.state_dict())

    def forward(self, features: Mapping[str, Tensor], size: tuple[int, int]) -> GuidedPredictions:
        """See :class:`mnv2dense.protocols.Head`."""
        maps = self.main.neck(features)
        main = self.main.read(maps, size, features)
        seen = [self.guide(x) for x in maps]
        distances = torch.cat([self.guide_boxes(x).flatten(2).transpose(1, 2) for x in seen], dim=1)
        logits = torch.cat([self.guide_classes(x).flatten(2).transpose(1, 2) for x in seen], dim=1)
        return GuidedPredictions(main, main._replace(distances=distances, logits=logits))

    def decode(self, raw: GuidedPredictions, size: tuple[int, int]) -> ScoredBoxes:
        """See :class:`mnv2dense.protocols.Head`."""
        return self.main.decode(raw.main, size)


class GuidedLoss(nn.Module):
    """Both heads learn what the guide's own answers match."""

    scores = "quality"

    def __init__(self, classification: str = "varifocal") -> None:
        super().__init__()
        self.points = TaskAlignedLoss(classification=classification)  # type: ignore[arg-type]  # it checks the word

    def forward(self, raw: GuidedPredictions, batch: Batch) -> dict[str, Tensor]:
        """See :class:`mnv2dense.protocols.Loss`."""
        targets = self.points.match(raw.guide, batch)
        main, guide = self.points.compare(raw.main, targets), self.points.compare(raw.guide, targets)
        return {**main, **{f"guide_{name}": term for name, term in guide.items()}}
