"""torchvision's parts in ``detector_race.py``: a peer, put together from what that package offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import _utils as parts
from torchvision.models.detection import ssdlite
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

from mnv2dense.ops.boxes import clip, decode
from mnv2dense.ops.postprocess import BoxSelection
from mnv2dense.types import Batch, BoxPredictions, FeatureInfo, ScoredBoxes


class TorchvisionSSDLite(nn.Module):
    """torchvision's own blocks, predictors and default boxes, as its ``ssdlite320_mobilenet_v3_large`` has them.

    Boxes are selected as those of the other candidates are: it is heads and losses that race.
    """

    task = "detection"
    scores = "softmax"

    def __init__(
        self, features: Mapping[str, FeatureInfo], *, size: tuple[int, int], class_names: Sequence[str]
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"_target_": "race_torchvision.TorchvisionSSDLite", "features": list(features)}
        self.class_names = tuple(class_names)
        self.selection = BoxSelection(self.class_names, 0.01, 0.6, 1000, 100)
        norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.03)
        channels = [each.channels for each in features.values()] + [512, 256, 256, 128]
        first = len(features) - 1
        self.extra = nn.ModuleList(
            ssdlite._extra_block(channels[place], channels[place + 1], norm)
            for place in range(first, len(channels) - 1)
        )
        self.generator = DefaultBoxGenerator([[2, 3] for _ in channels], min_ratio=0.2, max_ratio=0.95)
        anchors = self.generator.num_anchors_per_location()
        self.predictors = ssdlite.SSDLiteHead(channels, anchors, len(class_names) + 1, norm)
        ssdlite._normal_init(self.extra)

    def forward(self, features: Mapping[str, Tensor], size: tuple[int, int]) -> BoxPredictions:
        """See :class:`mnv2dense.protocols.Head`."""
        maps = list(features.values())
        for block in self.extra:
            maps.append(block(maps[-1]))
        said = self.predictors(maps)
        images = ImageList(maps[0].new_empty(1, 3, *size), [size])
        (anchors,) = self.generator(images, [x.float() for x in maps])  # of their type; bf16 would round centres
        return BoxPredictions(said["bbox_regression"], said["cls_logits"], anchors)

    def decode(self, raw: BoxPredictions, size: tuple[int, int]) -> ScoredBoxes:
        """See :class:`mnv2dense.protocols.Head`."""
        scores = raw.logits.float().softmax(-1)[..., 1:]
        return ScoredBoxes(clip(decode(raw.deltas.float(), raw.anchors), *size), scores)


class TorchvisionLoss(nn.Module):
    """torchvision's matcher and ``SSD.compute_loss``.

    As in its reference, regions to ignore are background, and an image without objects teaches nothing.
    """

    scores = "softmax"

    def __init__(self) -> None:
        super().__init__()
        self.matcher = parts.SSDMatcher(0.5)
        self.options = SimpleNamespace(box_coder=parts.BoxCoder(weights=(10.0, 10.0, 5.0, 5.0)), neg_to_pos_ratio=3)

    def forward(self, raw: BoxPredictions, batch: Batch) -> dict[str, Tensor]:
        """See :class:`mnv2dense.protocols.Loss`."""
        assert batch.boxes is not None
        assert batch.labels is not None
        targets, matched = [], []
        for boxes, labels in zip(batch.boxes, batch.labels, strict=True):
            real = labels >= 0
            targets.append({"boxes": boxes[real], "labels": labels[real] + 1})
            overlaps = box_iou(targets[-1]["boxes"], raw.anchors)
            nothing = torch.full((len(raw.anchors),), -1, device=boxes.device)
            matched.append(self.matcher(overlaps) if len(overlaps) else nothing)
        said = {"bbox_regression": raw.deltas.float(), "cls_logits": raw.logits.float()}
        anchors = [raw.anchors] * len(targets)
        terms = SSD.compute_loss(self.options, targets, said, anchors, matched)
        return {"classification": terms["classification"], "box": terms["bbox_regression"]}
