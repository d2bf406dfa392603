"""What every loss on masks does alike: logits at the masks' size, and which pixels count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mnv2dense.types import IGNORE_INDEX, Batch


class PixelTruth(NamedTuple):
    """A batch's logits and truth, pixel by pixel.

    Attributes:
        logits: float32 [B, K, H, W], at the masks' size.
        labels: int64 [B, H, W], 0..K-1, 255 where ignored.
        valid: bool [B, H, W], False where ignored.
    """

    logits: Tensor
    labels: Tensor
    valid: Tensor


def pixel_truth(raw: Tensor, batch: Batch, *, align_corners: bool) -> PixelTruth:
    """Enlarge logits [B, K, h, w] bilinearly to the masks of ``batch``; in float32 whatever ``raw`` is in.

    Args:
        raw: logits at the head's stride, any floating type.
        batch: its ``masks`` are read.
        align_corners: the corners of the two grids coincide, instead of the corners of their outer pixels.

    Raises:
        ValueError: the batch has no masks.
    """
    if batch.masks is None:
        raise ValueError("the batch has no masks, which this loss compares with; choose data of masks.")
    size = batch.masks.shape[-2:]
    logits = raw.float()
    if logits.shape[-2:] != size:
        logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=align_corners)
    labels = batch.masks.long()
    return PixelTruth(logits, labels, labels != IGNORE_INDEX)


def shown_by(labels: Tensor, *, num_classes: int) -> Tensor:
    """Whether each pixel shows each class: int64 [B, H, W] -> bool [B, K, H, W], nowhere True where ignored."""
    return labels.unsqueeze(1) == torch.arange(num_classes, device=labels.device).view(1, -1, 1, 1)


def mean_over(present: Tensor, losses: Tensor) -> Tensor:
    """Mean of ``losses`` [K] over the classes that are ``present``, bool [K]; 0 where none is."""
    return torch.where(present, losses, 0.0).sum() / present.sum().clamp(min=1)


def weights_buffer(class_weights: Sequence[float] | str | None) -> Tensor | None:
    """Weights of classes as float32 [K], checked; None stays None.

    Raises:
        ValueError: a word, one that is negative or not finite, or none above 0.
    """
    if class_weights is None:
        return None
    if isinstance(class_weights, str):
        raise ValueError(
            f"class_weights={class_weights!r}: a loss takes one number per class; "
            "mnv2dense.data.class_weights.class_weights finds them in a data set."
        )
    weights = torch.tensor([float(weight) for weight in class_weights])
    for k, weight in enumerate(weights.tolist()):
        if not 0 <= weight < torch.inf:
            raise ValueError(f"class_weights[{k}] is {weight}: a weight is finite and not negative; 0 leaves it out.")
    if not weights.any():
        raise ValueError(f"class_weights is {list(class_weights)}: nothing would be learned; give one above 0.")
    return weights


def pixel_weights(truth: PixelTruth, class_weights: Tensor | None) -> Tensor:
    """The weight of each pixel, float32 [B, H, W]: its class's, or 1 for all; 0 where ignored.

    Raises:
        ValueError: there are not as many weights as classes.
    """
    if class_weights is None:
        return truth.valid.float()
    classes = truth.logits.shape[1]
    if len(class_weights) != classes:
        raise ValueError(
            f"class_weights has {len(class_weights)} values, but the head gives {classes} classes; "
            "give one for each, in the order of the data's class_names."
        )
    return torch.where(truth.valid, class_weights[truth.labels.where(truth.valid, 0)], 0.0)
