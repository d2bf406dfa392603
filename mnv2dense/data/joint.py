"""One image's truth, of several parts, as each part's head takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mnv2dense.data.datasets.joint import JointPart
from mnv2dense.data.padding import padded
from mnv2dense.types import IGNORE_INDEX, IGNORE_LABEL, PADDING_LABEL, PackedMask, Truth


class ItemTruth(NamedTuple):
    """The truth of one part, in the model's input; of an image that the part does not have, ``known`` is False.

    Attributes:
        boxes: float32 [N, 4], xyxy in pixels of the input, or None.
        labels: int64 [N], of the part's own classes, or None; [1] of the whole image where it is to be classified.
        mask: uint8 [H, W], of the part's own classes, or None.
        truth: the mask before resizing, where it will be scored.
        known: whether the part says anything of the image.
    """

    boxes: Tensor | None
    labels: Tensor | None
    mask: Tensor | None
    truth: PackedMask | None
    known: bool


def parted(
    kinds: Mapping[str, JointPart],
    known: frozenset[str] | None,
    *,
    boxes: Tensor | None,
    labels: Tensor | None,
    mask: Tensor | None,
    scored: npt.NDArray[np.uint8] | None,
    image_labels: Mapping[str, int] | None,
) -> dict[str, ItemTruth]:
    """The truth of an image by its parts.

    Args:
        kinds: see :class:`mnv2dense.data.datasets.joint.JointDataset`.
        known: parts that say something of the image; None is all of them.
        boxes: of all parts of boxes, float32 [N, 4].
        labels: int64 [N], counted through the classes of all parts.
        mask: uint8 [H, W], or [H, W, M] of M parts.
        scored: the mask in the image's own pixels, where it will be scored.
        image_labels: name of the part -> class of the whole image.
    """
    parts = {}
    for name, kind in kinds.items():
        told = known is None or name in known
        if kind.task == "segmentation":
            assert mask is not None
            own_mask = mask if kind.channel is None else mask[..., kind.channel]
            truth = None
            if told and scored is not None:
                own_truth = scored if kind.channel is None else scored[..., kind.channel]
                truth = PackedMask(np.ascontiguousarray(own_truth))
            parts[name] = ItemTruth(None, None, own_mask, truth, told)
            continue
        if kind.task == "classification":
            label = (image_labels or {}).get(name, IGNORE_LABEL) if told else IGNORE_LABEL
            parts[name] = ItemTruth(None, torch.tensor([label]), None, None, label != IGNORE_LABEL)
            continue
        assert boxes is not None
        assert labels is not None
        # A region to ignore does not say whose it is, and no head shall learn that it is background.
        own = ((labels >= kind.labels.start) & (labels < kind.labels.stop)) | (labels == IGNORE_LABEL)
        shifted = torch.where(labels == IGNORE_LABEL, labels, labels - kind.labels.start)
        parts[name] = ItemTruth(boxes[own], shifted[own], None, None, told)
    return parts


def together(
    items: Sequence[Mapping[str, ItemTruth]], size: tuple[int, int], paths: Sequence[Path], *, max_boxes: int
) -> dict[str, Truth]:
    """The truth of a batch by its parts, padded.

    A head learns nothing from an image that its part does not have: there all of it is a region to ignore, and all
    pixels and its class are ignored.

    Args:
        items: of B images.
        size: (height, width) of the input, pixels.
        paths: of the images, for messages.
        max_boxes: M.
    """
    return {name: _together([item[name] for item in items], size, paths, max_boxes) for name in items[0]}


def _together(items: Sequence[ItemTruth], size: tuple[int, int], paths: Sequence[Path], max_boxes: int) -> Truth:
    unknown = torch.tensor([not item.known for item in items])
    if items[0].mask is None and items[0].boxes is None:
        return Truth(None, torch.stack([item.labels for item in items if item.labels is not None]), None, None)
    if items[0].boxes is None:
        masks = torch.stack([item.mask for item in items if item.mask is not None])
        masks[unknown] = IGNORE_INDEX
        truths = tuple(item.truth for item in items)
        return Truth(None, None, masks, truths if any(truth is not None for truth in truths) else None)
    rows = [(item.boxes, item.labels, path) for item, path in zip(items, paths, strict=True)]
    boxes, labels = padded(rows, max_boxes)
    height, width = size
    boxes[unknown], labels[unknown] = 0.0, PADDING_LABEL
    # Far beyond the image, so that anchors that stick out of it are mostly inside, too.
    boxes[unknown, 0] = torch.tensor([-width, -height, 2 * width, 2 * height], dtype=boxes.dtype)
    labels[unknown, 0] = IGNORE_LABEL
    return Truth(boxes, labels, None, None)
