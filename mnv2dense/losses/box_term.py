"""What every anchor loss does alike: targets, how many anchors matched, and smooth L1 on their boxes."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mnv2dense.ops.matching import assign
from mnv2dense.types import Batch, BoxPredictions


class Matched(NamedTuple):
    """A batch's truth on its anchors.

    Attributes:
        labels: int64 [B, A], 0..K-1 where matched, else ``IGNORE_LABEL``, or ``BACKGROUND`` of
            :mod:`mnv2dense.ops.matching`.
        normaliser: int64 scalar, matched anchors of the batch, at least 1: what loss terms are divided by.
        box: float32 scalar, smooth L1 (beta 1) over matched anchors and four offsets, divided by ``normaliser``.
    """

    labels: Tensor
    normaliser: Tensor
    box: Tensor


def matched(raw: BoxPredictions, batch: Batch, *, threshold: float) -> Matched:
    """Match ``batch`` to the anchors at IoU ``threshold`` and compare boxes; in float32 whatever ``raw`` is in.

    Raises:
        ValueError: ``raw`` is of a head without anchors.
    """
    _check_raw(raw)
    targets = assign(raw.anchors, batch, threshold=threshold)
    objects = targets.labels >= 0
    normaliser = objects.sum().clamp(min=1)
    distance = F.smooth_l1_loss(raw.deltas.float(), targets.deltas, reduction="none").sum(dim=-1)
    return Matched(targets.labels, normaliser, torch.where(objects, distance, 0.0).sum() / normaliser)


def _check_raw(raw: object) -> None:
    """Raise ValueError unless ``raw`` is what box losses take; a head of another package may give anything."""
    lacking = [name for name in BoxPredictions._fields if not hasattr(raw, name)]
    if lacking:
        raise ValueError(
            f"The head gives {type(raw).__name__} without {', '.join(lacking)}, and losses of anchors take "
            f"mnv2dense.types.BoxPredictions ({', '.join(BoxPredictions._fields)}); choose a loss that fits the head."
        )


def check_threshold(threshold: float) -> None:
    """Raise ValueError unless ``threshold`` is an IoU."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}: an IoU lies between 0 and 1; SSD matches at 0.5.")
