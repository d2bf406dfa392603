"""What a pretrained backbone sees in a whole data set, kept, so that many small heads can learn from it in minutes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mnv2dense.data.collate import collate, prepare
from mnv2dense.metrics.box_columns import TrueBoxes
from mnv2dense.models.normalize import Normalize
from mnv2dense.ops.resize import ResizeMode
from mnv2dense.protocols import Backbone, Dataset
from mnv2dense.types import IGNORE_LABEL, FeatureInfo, Infos, Sample


class FrozenFeatures(NamedTuple):
    """Maps of P images.

    Attributes:
        maps: name -> float16 [P, C, h, w].
        infos: of the P images, whose ids are their places 0..P-1.
        size: (height, width) of the input that they are of, pixels.
        feature_info: as the backbone's.
    """

    maps: Mapping[str, Tensor]
    infos: Infos
    size: tuple[int, int]
    feature_info: Mapping[str, FeatureInfo]


@torch.no_grad()
def frozen_features(
    backbone: Backbone,
    dataset: Dataset,
    *,
    size: tuple[int, int],
    resize: ResizeMode = "squash",
    batch_size: int = 16,
    look: Callable[[int, Sample], None] = lambda place, sample: None,
    advance: Callable[[int], None] = lambda _: None,
) -> FrozenFeatures:
    """Run a backbone over every image once.

    Args:
        backbone: in eval mode, a torch module; runs where its weights are, and what it sees is kept on the CPU.
        dataset: P images; any task.
        size: (height, width) of the input, pixels.
        resize: how images get there.
        batch_size: images at a time.
        look: called with each image's place and sample as they are read, for whoever needs them too.
        advance: told the number of images done after each batch.
    """
    device = _device_of(backbone)
    normalize = Normalize(backbone.mean, backbone.std).to(device)
    maps: dict[str, Tensor] = {}
    infos: list[Infos] = []
    for start in range(0, len(dataset), batch_size):
        items = []
        for place in range(start, min(start + batch_size, len(dataset))):
            sample = dataset[place]
            look(place, sample)
            bare = sample._replace(boxes=None, labels=None, mask=None, image_id=place)
            items.append(prepare(bare, size, resize))
        batch = collate(items, max_boxes=1)
        infos.append(batch.infos)
        for name, found in backbone(normalize(batch.images.to(device))).items():
            kept = maps.setdefault(name, torch.empty(len(dataset), *found.shape[1:], dtype=torch.float16))
            kept[start : start + len(items)] = found.half().cpu()
        advance(len(items))
    together = Infos(*(torch.cat(parts) for parts in zip(*infos, strict=True)))
    return FrozenFeatures(maps, together, size, dict(backbone.feature_info))


def boxes_of(samples: Sequence[Sample]) -> TrueBoxes:
    """The truth of samples that have boxes, without their pixels; images are their places 0..P-1."""
    images = np.repeat(np.arange(len(samples)), [len(_labels(sample)) for sample in samples])
    corners = np.concatenate([np.zeros((0, 4)), *(sample.boxes for sample in samples if sample.boxes is not None)])
    labels = np.concatenate([np.zeros(0, np.int64), *(_labels(sample) for sample in samples)])
    return true_boxes(len(samples), images, corners, labels)


def true_boxes(count: int, images: np.ndarray, corners: np.ndarray, labels: np.ndarray) -> TrueBoxes:
    """Columns of M boxes in ``count`` images, xyxy [M, 4], sorted by images here; ``IGNORE_LABEL`` makes a crowd."""
    order = np.argsort(images, kind="stable")
    images, corners, labels = images[order], np.asarray(corners, np.float64)[order], labels[order]
    sides = corners[:, 2:] - corners[:, :2]
    return TrueBoxes(
        image_ids=np.arange(count),
        images=images,
        boxes=np.concatenate([corners[:, :2], sides], axis=1),
        labels=labels,
        areas=sides.prod(axis=1),
        crowds=labels == IGNORE_LABEL,
        starts=np.searchsorted(images, np.arange(count + 1)),
    )


def _device_of(backbone: Backbone) -> torch.device:
    assert isinstance(backbone, nn.Module)
    return next(backbone.parameters()).device


def _labels(sample: Sample) -> np.ndarray:
    return np.zeros(0, np.int64) if sample.labels is None else sample.labels
