"""Images and their truth: one by one as data sets give them, and packed as models take them."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple, final

if TYPE_CHECKING:  # whoever reuses the backbone needs torch alone
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    from torch import Tensor


class Sample(NamedTuple):
    """One image and its truth, as a data set gives it: numpy on the host, before batching.

    Attributes:
        image: uint8 [H, W, 3], RGB, EXIF orientation already applied.
        boxes: float32 [N, 4], xyxy in pixels of ``image``; every box has a positive area. None where the task has no
            boxes.
        labels: int64, 0..K-1: [N] of the boxes, or ``IGNORE_LABEL`` for a region to ignore; [1] of the whole image
            where it is to be classified. None where the task has no labels.
        mask: uint8 [H, W] of classes, 255 ignored; None where the task has no masks. [H, W, M] where M of several heads
            learn from masks.
        image_id: the image's id in its data set's own numbering; unique there.
        path: where the image came from, for messages.
        known: where several heads learn, the names of those whose truth this is; None is all of them.
        image_labels: where several heads learn, name -> class of the whole image, of those that classify it.
    """

    image: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32] | None
    labels: npt.NDArray[np.int64] | None
    mask: npt.NDArray[np.uint8] | None
    image_id: int
    path: Path
    known: frozenset[str] | None = None
    image_labels: Mapping[str, int] | None = None


class BoxColumns(NamedTuple):
    """The boxes of a whole data set as columns of T rows; those of one image in the order in which it has them.

    Attributes:
        image_ids: int64 [P], of all images, also of those without boxes; unique.
        images: int64 [T], the row of ``image_ids`` that a box belongs to.
        boxes: float64 [T, 4], COCO's x, y, width, height in pixels of the image.
        labels: int64 [T], 0..K-1.
        crowds: bool [T], regions to ignore.
        areas: float64 [T], square pixels; what COCO's small, medium and large go by.
    """

    image_ids: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    crowds: npt.NDArray[np.bool_]
    areas: npt.NDArray[np.float64]


class Infos(NamedTuple):
    """Per image, the way back from the model's input to the original image.

    ``model_xy = original_xy * scales + offsets``; :mod:`mnv2dense.ops.resize` makes and inverts it.

    Attributes:
        image_ids: int64 [B].
        sizes: int64 [B, 2], (height, width) of the original image, pixels.
        scales: float32 [B, 2], (x, y).
        offsets: float32 [B, 2], (x, y), pixels of the model's input.
    """

    image_ids: Tensor
    sizes: Tensor
    scales: Tensor
    offsets: Tensor


@final
class PackedMask:
    """An image's mask in its own pixels, packed: many of them wait in queues between processes.

    Args:
        mask: uint8 [H, W], classes, 255 ignored.
    """

    __slots__ = ("_packed", "_shape")

    def __init__(self, mask: npt.NDArray[np.uint8]) -> None:
        self._shape = mask.shape
        self._packed = zlib.compress(mask.tobytes(), 1)

    def unpack(self) -> npt.NDArray[np.uint8]:
        """The mask, bit by bit."""
        import numpy as np

        return np.frombuffer(bytearray(zlib.decompress(self._packed)), np.uint8).reshape(self._shape)


class Truth(NamedTuple):
    """What one of several heads learns from or is scored on: as the fields of a :class:`Batch`, labels its own.

    Attributes:
        boxes: float32 [B, M, 4].
        labels: int64 [B, M] of the boxes; [B, 1] of the whole images of a head that classifies, ``IGNORE_LABEL`` where
            it is not known.
        masks: uint8 [B, H, W].
        truths: masks in the images' own pixels, for scoring.
    """

    boxes: Tensor | None
    labels: Tensor | None
    masks: Tensor | None
    truths: tuple[PackedMask | None, ...] | None = None


class Batch(NamedTuple):
    """Tensors of fixed shape: the same graph serves every batch. What a task lacks is None.

    Attributes:
        images: uint8 [B, 3, H, W], RGB; normalisation happens inside the model.
        boxes: float32 [B, M, 4], xyxy in pixels of ``images``; zeros where padded.
        labels: int64 [B, M], 0..K-1; ``PADDING_LABEL`` where padded, ``IGNORE_LABEL`` where to ignore. [B, 1] of the
            whole images where they are to be classified.
        masks: uint8 [B, H, W], classes, 255 ignored.
        infos: the way back to the original images.
        truths: for scoring, the masks of the images in their own pixels, None where there is none; the field is None
            in training, and where nobody packed them.
        digests: a hash of each image's pixels, 16 bytes, where a training data module was asked for them.
        parts: where several heads learn, the truth of each by its name; boxes, labels, masks and truths are None then.
    """

    images: Tensor
    boxes: Tensor | None
    labels: Tensor | None
    masks: Tensor | None
    infos: Infos
    truths: tuple[PackedMask | None, ...] | None = None
    digests: tuple[bytes, ...] | None = None
    parts: dict[str, Truth] | None = None
