"""What travels between data, model, loss, metric and picture.

Shape letters, used in every docstring: **B** pictures, **H W** pixels, **M** ground-truth boxes (padded),
**A** anchors, **K** classes, **C** channels, **N** boxes of one picture.

Boxes are xyxy, absolute pixels of the tensor they live with, float32, origin top-left, within
[0, W] x [0, H]. Labels are 0..K-1. COCO's xywh and category ids, and VOC's 1-based corners, exist only in
the file that reads or writes that format.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Self

import torch
from torch import Tensor

if TYPE_CHECKING:  # whoever reuses the backbone needs torch alone
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

PADDING_LABEL = -1
"""Label of a padded row of ``Batch.boxes``: there is no box."""

IGNORE_LABEL = -2
"""Label of a region to ignore (a COCO crowd, a difficult VOC object): neither object nor background."""

IGNORE_INDEX = 255
"""Mask value of a pixel that counts neither in a loss nor in a metric."""


class FeatureInfo(NamedTuple):
    """What a head must know of a feature map before it is built."""

    channels: int
    stride: int


class Sample(NamedTuple):
    """One picture and its truth, as a data set gives it: numpy on the host, before batching.

    Attributes:
        image: uint8 [H, W, 3], RGB, EXIF orientation already applied.
        boxes: float32 [N, 4], xyxy in pixels of ``image``; every box has a positive area. None where the task has no
            boxes.
        labels: int64, 0..K-1: [N] of the boxes, or ``IGNORE_LABEL`` for a region to ignore; [1] of the whole picture
            where it is to be classified. None where the task has no labels.
        mask: uint8 [H, W] of classes, 255 ignored; None where the task has no masks.
        image_id: the picture's id in its data set's own numbering; unique there.
        path: where the picture came from, for messages.
    """

    image: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32] | None
    labels: npt.NDArray[np.int64] | None
    mask: npt.NDArray[np.uint8] | None
    image_id: int
    path: Path


class Infos(NamedTuple):
    """Per picture, the way back from the model's input to the original picture.

    ``model_xy = original_xy * scales + offsets``; :mod:`mnv2dense.ops.resize` makes and inverts it.

    Attributes:
        image_ids: int64 [B].
        sizes: int64 [B, 2], (height, width) of the original picture, pixels.
        scales: float32 [B, 2], (x, y).
        offsets: float32 [B, 2], (x, y), pixels of the model's input.
    """

    image_ids: Tensor
    sizes: Tensor
    scales: Tensor
    offsets: Tensor


class Batch(NamedTuple):
    """Tensors of fixed shape: the same graph serves every batch. What a task lacks is None.

    Attributes:
        images: uint8 [B, 3, H, W], RGB; normalisation happens inside the model.
        boxes: float32 [B, M, 4], xyxy in pixels of ``images``; zeros where padded.
        labels: int64 [B, M], 0..K-1; ``PADDING_LABEL`` where padded, ``IGNORE_LABEL`` where to ignore. [B, 1] of the
            whole pictures where they are to be classified.
        masks: uint8 [B, H, W], classes, 255 ignored.
        infos: the way back to the original pictures.
    """

    images: Tensor
    boxes: Tensor | None
    labels: Tensor | None
    masks: Tensor | None
    infos: Infos


class BoxPredictions(NamedTuple):
    """What a box head says of every anchor, before any decision; what box losses take.

    Attributes:
        deltas: [B, A, 4], encoded offsets from ``anchors`` (:func:`mnv2dense.ops.boxes.encode`).
        logits: [B, A, K + 1] with the background first where scores are a softmax, [B, A, K] where sigmoids.
        anchors: [A, 4], xyxy in pixels of the model's input.
    """

    deltas: Tensor
    logits: Tensor
    anchors: Tensor


class ScoredBoxes(NamedTuple):
    """Decoded predictions: fixed shape, no threshold and no NMS yet; what an exported file gives.

    Attributes:
        boxes: [B, A, 4], xyxy in pixels of the model's input, clipped to it.
        scores: [B, A, K], 0..1, without background.
    """

    boxes: Tensor
    scores: Tensor


class PixelLogits(NamedTuple):
    """What a segmentation head decodes: scores on its own grid, and the input that they are of.

    Attributes:
        logits: float32 [B, K, h, w].
        size: (height, width) of the model's input, pixels.
    """

    logits: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class Detections:
    """Boxes found in one picture, best first.

    Attributes:
        boxes: float32 [N, 4], xyxy in pixels of the original picture, clipped to it.
        scores: float32 [N], 0..1, descending.
        labels: int64 [N], 0..K-1.
        class_names: the K names that ``labels`` index.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return int(self.labels.shape[0])

    @property
    def names(self) -> list[str]:
        """The class name of each box, [N]."""
        return [self.class_names[i] for i in self.labels.tolist()]

    def above(self, threshold: float) -> Self:
        """Those with a score of at least ``threshold``."""
        keep = self.scores >= threshold
        return replace(self, boxes=self.boxes[keep], scores=self.scores[keep], labels=self.labels[keep])

    def to(self, device: torch.device | str) -> Self:
        """The same detections with their tensors on ``device``."""
        return replace(self, boxes=self.boxes.to(device), scores=self.scores.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class Classification:
    """What one picture shows, likeliest first.

    Attributes:
        scores: float32 [N], 0..1, descending; N is K, or less after :meth:`above` or :meth:`top`.
        labels: int64 [N], 0..K-1.
        class_names: the K names that ``labels`` index.
    """

    scores: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return int(self.labels.shape[0])

    @property
    def names(self) -> list[str]:
        """The name of each class, [N]."""
        return [self.class_names[i] for i in self.labels.tolist()]

    def above(self, threshold: float) -> Self:
        """Those with a score of at least ``threshold``."""
        keep = self.scores >= threshold
        return replace(self, scores=self.scores[keep], labels=self.labels[keep])

    def top(self, count: int) -> Self:
        """The ``count`` likeliest."""
        return replace(self, scores=self.scores[:count], labels=self.labels[:count])

    def to(self, device: torch.device | str) -> Self:
        """The same with its tensors on ``device``."""
        return replace(self, scores=self.scores.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class Segmentation:
    """The class of every pixel of one picture.

    Attributes:
        labels: uint8 [H, W], 0..K-1, in the original picture's pixels.
        class_names: the K names that ``labels`` index.
        palette: RGB of each class, 0..255; None takes the default colours.
    """

    labels: Tensor
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] | None = None

    def shares(self) -> dict[str, float]:
        """The share of the picture that each class covers, largest first; classes that are not there are left out."""
        counts = torch.bincount(self.labels.flatten().long(), minlength=len(self.class_names))
        order = counts.argsort(descending=True).tolist()
        return {self.class_names[k]: int(counts[k]) / self.labels.numel() for k in order if counts[k]}

    def above(self, threshold: float) -> Self:
        """The same: every pixel has a class, and none has a score."""
        return self

    def to(self, device: torch.device | str) -> Self:
        """The same with its labels on ``device``."""
        return replace(self, labels=self.labels.to(device))
