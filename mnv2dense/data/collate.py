"""From samples to a batch: resizing to the model's input and padding to a fixed number of boxes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mnv2dense.data.joint import ItemTruth, together
from mnv2dense.data.padding import padded
from mnv2dense.ops.resize import Fit, ResizeMode, boxes_to_input, infos, resize, resize_mask
from mnv2dense.types import Batch, PackedMask, Sample

# Where an image of the input's own size lies in it.
_AS_IT_IS = Fit(1.0, 1.0, 0.0, 0.0)


class Item(NamedTuple):
    """A sample in the model's input, before padding.

    Attributes:
        image: uint8 [3, H, W].
        boxes: float32 [N, 4], xyxy in pixels of ``image``, or None.
        labels: int64 [N], of the boxes or the whole image, or None.
        mask: uint8 [H, W], or None.
        image_id: the image's id in its data set.
        size: (height, width) before resizing, pixels.
        fit: where the image lies in ``image``.
        path: where it came from, for messages.
        truth: the mask before resizing, where it will be scored.
        digest: of ``image``, 16 bytes, where somebody will ask for it.
        parts: the truth under the names of several heads; None where there is one.
    """

    image: Tensor
    boxes: Tensor | None
    labels: Tensor | None
    mask: Tensor | None
    image_id: int
    size: tuple[int, int]
    fit: Fit
    path: Path
    truth: PackedMask | None = None
    digest: bytes | None = None
    parts: dict[str, ItemTruth] | None = None


def prepare(
    sample: Sample, size: tuple[int, int], mode: ResizeMode, *, scored: bool = False, digest: bool = False
) -> Item:
    """Resize a sample to the model's input, boxes and mask with it.

    Args:
        sample: of a data set.
        size: (height, width) of the input, pixels.
        mode: see :data:`mnv2dense.ops.resize.ResizeMode`.
        scored: keep the mask as it is beside it, so that a metric need not read it again.
        digest: hash the pixels that the model will get.
    """
    if sample.image.shape[:2] == tuple(size) and mode == "squash":
        image, fit = _planes(sample.image), _AS_IT_IS
    else:
        image, fit = resize(_tensor(sample.image).permute(2, 0, 1), size, mode)
    return Item(
        image=image,
        boxes=None if sample.boxes is None else _boxes_to_input(_tensor(sample.boxes).reshape(-1, 4), fit),
        labels=None if sample.labels is None else _tensor(sample.labels),
        mask=None if sample.mask is None else resize_mask(_tensor(sample.mask), size, mode),
        image_id=sample.image_id,
        size=(sample.image.shape[0], sample.image.shape[1]),
        fit=fit,
        path=sample.path,
        truth=PackedMask(sample.mask) if scored and sample.mask is not None else None,
        digest=_digest(image) if digest else None,
    )


def collate(items: Sequence[Item], *, max_boxes: int) -> Batch:
    """Stack B items of one size, their boxes padded to M = ``max_boxes``; of more, the largest are kept."""
    if items[0].parts is not None:
        return _joint(items, max_boxes)
    boxes, labels = _boxes_and_labels(items, max_boxes)
    masks = [item.mask for item in items if item.mask is not None]
    truths = tuple(item.truth for item in items)
    digests = tuple(item.digest for item in items if item.digest is not None)
    return Batch(
        images=torch.stack([item.image for item in items]),
        boxes=boxes,
        labels=labels,
        masks=torch.stack(masks) if masks else None,
        infos=infos([item.image_id for item in items], [item.size for item in items], [item.fit for item in items]),
        truths=truths if any(truth is not None for truth in truths) else None,
        digests=digests or None,
    )


def _joint(items: Sequence[Item], max_boxes: int) -> Batch:
    """A batch whose truth stands under the names of the heads."""
    images = torch.stack([item.image for item in items])
    size = (images.shape[-2], images.shape[-1])
    digests = tuple(item.digest for item in items if item.digest is not None)
    parts = [item.parts for item in items if item.parts is not None]
    return Batch(
        images=images,
        boxes=None,
        labels=None,
        masks=None,
        infos=infos([item.image_id for item in items], [item.size for item in items], [item.fit for item in items]),
        digests=digests or None,
        parts=together(parts, size, [item.path for item in items], max_boxes=max_boxes),
    )


def _digest(image: Tensor) -> bytes:
    """Of the size and of every pixel."""
    hashed = hashlib.blake2b(repr(tuple(image.shape)).encode(), digest_size=16)
    hashed.update(np.ascontiguousarray(image.numpy()).data)
    return hashed.digest()


def _boxes_and_labels(items: Sequence[Item], max_boxes: int) -> tuple[Tensor | None, Tensor | None]:
    """Padded boxes with their labels; or the labels of whole images; or neither."""
    if items[0].boxes is None:
        whole = [item.labels for item in items if item.labels is not None]
        return None, torch.stack(whole) if whole else None
    return padded([(item.boxes, item.labels, item.path) for item in items], max_boxes)


def _boxes_to_input(boxes: Tensor, fit: Fit) -> Tensor:
    if fit == _AS_IT_IS:
        return boxes
    return boxes_to_input(boxes, torch.tensor(fit[:2]), torch.tensor(fit[2:]))


def _planes(image: npt.NDArray[np.uint8]) -> Tensor:
    """[H, W, 3] -> [3, H, W]; some times faster than torch's copy of a transposed view. What lies in planes stays."""
    there = image.transpose(2, 0, 1)
    if there.flags.c_contiguous and there.flags.writeable:
        return torch.from_numpy(there)
    import cv2

    planes = np.empty((3, *image.shape[:2]), np.uint8)
    cv2.split(image, list(planes))
    return torch.from_numpy(planes)


def _tensor(array: npt.NDArray[Any]) -> Tensor:
    # Decoders may hand out read-only or flipped memory, neither of which torch takes.
    usable = array.flags.c_contiguous and array.flags.writeable
    return torch.from_numpy(array if usable else np.require(array, requirements=["C", "W"]))
