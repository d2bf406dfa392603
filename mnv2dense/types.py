"""What travels between data, model, loss, metric and picture.

Shape letters, used in every docstring: **B** pictures, **H W** pixels, **M** ground-truth boxes (padded),
**A** anchors, **K** classes, **C** channels, **N** boxes of one picture.

Boxes are xyxy, absolute pixels of the tensor they live with, float32, origin top-left, within
[0, W] x [0, H]. Labels are 0..K-1. COCO's xywh and category ids, and VOC's 1-based corners, exist only in
the file that reads or writes that format.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self, SupportsIndex, overload

if TYPE_CHECKING:  # constants are wanted before torch is loaded, and whoever reuses the backbone needs it alone
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor

    Rows = slice | Tensor | npt.NDArray[np.bool_ | np.integer[Any]] | Sequence[bool] | Sequence[int]
    """Some of a result: a slice, a bool mask [N], or whole numbers [n]."""

PADDING_LABEL = -1
"""Label of a padded row of ``Batch.boxes``: there is no box."""

IGNORE_LABEL = -2
"""Label of a region to ignore (a COCO crowd, a difficult VOC object): neither object nor background."""

IGNORE_INDEX = 255
"""Mask value of a pixel that counts neither in a loss nor in a metric."""

SHOWN_SCORE = 0.4
"""The lowest score of a box that people are shown unless they ask for another: in predictions, in a run's samples and
report, in its worst and best pictures. A data set's scores take all boxes, and so does a predictor without a threshold.
"""


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


class Box(NamedTuple):
    """One object that was found.

    Attributes:
        name: of its class.
        score: 0..1.
        label: of its class, 0..K-1.
        xyxy: left, top, right, bottom in pixels of the original picture.
    """

    name: str
    score: float
    label: int
    xyxy: tuple[float, float, float, float]


class ScoredClass(NamedTuple):
    """One class that a picture may show.

    Attributes:
        name: of the class.
        score: 0..1.
        label: 0..K-1.
    """

    name: str
    score: float
    label: int


class Region(NamedTuple):
    """All pixels of one class.

    Attributes:
        name: of the class.
        share: of the picture, 0..1.
        label: 0..K-1.
        mask: bool [H, W], where they are.
    """

    name: str
    share: float
    label: int
    mask: Tensor


@dataclass(frozen=True)
class Detections:
    """Boxes found in one picture, best first.

    ``for box in found: box.name, box.score, box.xyxy`` goes through them, ``found[0]`` is the best, and ``found[:3]``,
    ``found[found.labels == 2]`` or ``found[[0, 4]]`` are some of them.

    Attributes:
        boxes: float32 [N, 4], xyxy in pixels of the original picture, clipped to it.
        scores: float32 [N], 0..1, descending.
        labels: int64 [N], 0..K-1.
        class_names: the K names that ``labels`` index.

    Raises:
        ValueError: other shapes than these.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        count = self.labels.shape[:1]
        if self.labels.ndim != 1 or self.scores.shape != count or self.boxes.shape != (*count, 4):
            raise ValueError(
                f"boxes are {list(self.boxes.shape)}, scores {list(self.scores.shape)} and labels "
                f"{list(self.labels.shape)}: N boxes need [N, 4], [N] and [N]."
            )

    def __len__(self) -> int:
        return int(self.labels.shape[0])

    def __iter__(self) -> Iterator[Box]:
        rows = zip(self.names, self.scores.tolist(), self.labels.tolist(), self.boxes.tolist(), strict=True)
        return (Box(name, score, label, (*box,)) for name, score, label, box in rows)

    @overload
    def __getitem__(self, index: int) -> Box: ...
    @overload
    def __getitem__(self, index: Rows) -> Self: ...
    def __getitem__(self, index: int | Rows) -> Box | Self:
        """The box at a whole number; those of a slice, of a bool mask [N], or at a list of numbers, in its order.

        Raises:
            IndexError: there is no such box, or an index of another kind.
        """
        rows = _rows(index, len(self))
        if isinstance(rows, int):
            label = int(self.labels[rows])
            left, top, right, bottom = self.boxes[rows].tolist()
            return Box(self.class_names[label], float(self.scores[rows]), label, (left, top, right, bottom))
        return replace(self, boxes=self.boxes[rows], scores=self.scores[rows], labels=self.labels[rows])

    @property
    def names(self) -> list[str]:
        """The class name of each box, [N]."""
        return [self.class_names[i] for i in self.labels.tolist()]

    def above(self, threshold: float) -> Self:
        """Those with a score of at least ``threshold``."""
        return self[self.scores >= threshold]

    @classmethod
    def merge(cls, found: Sequence[Self]) -> Self:
        """All boxes of several results of one picture, best first; of boxes that mean one object all stay.

        Args:
            found: at least one; what is no box is taken over from the first.

        Raises:
            ValueError: nothing to merge, or results of other classes or of a picture of another size.
        """
        import torch

        if not found:
            raise ValueError("There are no detections to merge: give at least one.")
        first = found[0]
        for other in found[1:]:
            first._check_alike(other)
        together = replace(
            first,
            boxes=torch.cat([one.boxes for one in found]),
            scores=torch.cat([one.scores for one in found]),
            labels=torch.cat([one.labels for one in found]),
        )
        return together[together.scores.argsort(descending=True, stable=True)]

    def to(self, device: torch.device | str) -> Self:
        """The same detections with their tensors on ``device``."""
        return replace(self, boxes=self.boxes.to(device), scores=self.scores.to(device), labels=self.labels.to(device))

    def _check_alike(self, other: Detections) -> None:
        """Whether boxes of both may stand in one result."""
        if other.class_names != self.class_names:
            raise ValueError(
                f"Detections of {len(self.class_names)} classes ({', '.join(self.class_names[:3])}, ...) cannot be "
                f"merged with those of {len(other.class_names)} ({', '.join(other.class_names[:3])}, ...): their "
                "labels mean other things."
            )


@dataclass(frozen=True)
class Classification:
    """What one picture shows, likeliest first.

    ``for one in found: one.name, one.score`` goes through the classes, ``found[0]`` is the likeliest, and ``found[:3]``
    or ``found[found.scores > 0.1]`` are some of them.

    Attributes:
        scores: float32 [N], 0..1, descending; N is K, or less after :meth:`above` or :meth:`top`.
        labels: int64 [N], 0..K-1.
        class_names: the K names that ``labels`` index.

    Raises:
        ValueError: other shapes than these.
    """

    scores: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.labels.ndim != 1 or self.scores.shape != self.labels.shape:
            raise ValueError(
                f"scores are {list(self.scores.shape)} and labels {list(self.labels.shape)}: N classes need [N] each."
            )

    def __len__(self) -> int:
        return int(self.labels.shape[0])

    def __iter__(self) -> Iterator[ScoredClass]:
        return map(ScoredClass, self.names, self.scores.tolist(), self.labels.tolist())

    @overload
    def __getitem__(self, index: int) -> ScoredClass: ...
    @overload
    def __getitem__(self, index: Rows) -> Self: ...
    def __getitem__(self, index: int | Rows) -> ScoredClass | Self:
        """The class at a whole number; those of a slice, of a bool mask [N], or at a list of numbers, in its order.

        Raises:
            IndexError: there is no such class, or an index of another kind.
        """
        rows = _rows(index, len(self))
        if isinstance(rows, int):
            label = int(self.labels[rows])
            return ScoredClass(self.class_names[label], float(self.scores[rows]), label)
        return replace(self, scores=self.scores[rows], labels=self.labels[rows])

    @property
    def names(self) -> list[str]:
        """The name of each class, [N]."""
        return [self.class_names[i] for i in self.labels.tolist()]

    def above(self, threshold: float) -> Self:
        """Those with a score of at least ``threshold``."""
        return self[self.scores >= threshold]

    def top(self, count: int) -> Self:
        """The ``count`` likeliest."""
        return self[:count]

    def to(self, device: torch.device | str) -> Self:
        """The same with its tensors on ``device``."""
        return replace(self, scores=self.scores.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class Segmentation:
    """The class of every pixel of one picture.

    ``for region in found: region.name, region.share, region.mask`` goes through the classes that are there, largest
    first; ``found[0]`` is the largest.

    Attributes:
        labels: uint8 [H, W], 0..K-1, in the original picture's pixels.
        class_names: the K names that ``labels`` index.
        palette: RGB of each class, 0..255; None takes the house's own colours.

    Raises:
        ValueError: labels of another shape.
    """

    labels: Tensor
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] | None = None

    def __post_init__(self) -> None:
        if self.labels.ndim != 2:
            raise ValueError(f"labels are {list(self.labels.shape)}: the classes of one picture's pixels are [H, W].")

    def __len__(self) -> int:
        """How many classes are there."""
        return len(self._counts())

    def __iter__(self) -> Iterator[Region]:
        return (self._region(label, count) for label, count in self._counts())

    def __getitem__(self, index: int) -> Region:
        """The pixels of one of the classes that are there; 0 is the largest.

        Raises:
            IndexError: there are not so many.
        """
        counts = self._counts()
        return self._region(*counts[_row(index, len(counts))])

    def shares(self) -> dict[str, float]:
        """The share of the picture that each class covers, largest first; classes that are not there are left out."""
        return {self.class_names[label]: count / self.labels.numel() for label, count in self._counts()}

    def to(self, device: torch.device | str) -> Self:
        """The same with its labels on ``device``."""
        return replace(self, labels=self.labels.to(device))

    def _counts(self) -> list[tuple[int, int]]:
        """(label, pixels) of the classes that are there, largest first."""
        counts = self.labels.flatten().long().bincount(minlength=len(self.class_names))
        order = counts.argsort(descending=True).tolist()
        return [(label, int(counts[label])) for label in order if counts[label]]

    def _region(self, label: int, count: int) -> Region:
        return Region(self.class_names[label], count / self.labels.numel(), label, self.labels == label)


def _row(index: SupportsIndex, count: int) -> int:
    row = operator.index(index)
    if not -count <= row < count:
        raise IndexError(f"index {row}: there are {count} here.")
    return row


def _rows(index: int | Rows, count: int) -> int | slice | Tensor:
    """An index of any kind as torch takes it, if it is one of ``count`` rows."""
    import torch
    from torch import Tensor

    if isinstance(index, slice):
        # Torch knows no step backwards.
        return index if (index.step or 1) > 0 else torch.tensor(range(*index.indices(count)), dtype=torch.long)
    if isinstance(index, SupportsIndex) and not isinstance(index, bool | Tensor) and getattr(index, "ndim", 0) == 0:
        return _row(index, count)
    rows = torch.as_tensor(index)
    if not isinstance(index, Tensor) and not rows.numel() and rows.is_floating_point():  # an empty list
        rows = rows.long()
    if rows.ndim != 1 or rows.is_floating_point():
        raise IndexError(
            f"an index of {rows.dtype} {list(rows.shape)}: give a whole number, a slice, a mask [{count}] of bool, or "
            "whole numbers [n]."
        )
    if rows.dtype == torch.bool:
        if len(rows) != count:
            raise IndexError(f"a mask of {len(rows)}: there are {count} here, and each needs its own true or false.")
        return rows
    # On a GPU torch would end the process over a number that is not there.
    if len(rows) and not -count <= int(rows.min()) <= int(rows.max()) < count:
        raise IndexError(f"indices {int(rows.min())} to {int(rows.max())}: there are {count} here.")
    return rows.long()
