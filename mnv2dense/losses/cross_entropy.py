"""Cross-entropy of whole images, with smoothed labels."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnv2dense.types import IGNORE_LABEL, Batch

_LEFT_OUT = -100


@final
class CrossEntropyLoss(nn.Module):
    """Softmax cross-entropy (Szegedy et al. 2016, section 7, for the smoothing).

    Args:
        label_smoothing: share of the target that is spread over all classes, 0 up to 1.
        class_offset: columns of the logits before the first class; the head's own.

    Raises:
        ValueError: an option outside its values.
    """

    def __init__(self, *, label_smoothing: float = 0.1, class_offset: int = 0) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing={label_smoothing}: a share from 0 up to, but not including, 1.")
        self.label_smoothing = label_smoothing
        self.class_offset = class_offset

    def forward(self, raw: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Logits [B, class_offset + K] and ``batch.labels`` [B, 1] -> ``class``, the mean over images.

        An image of ``IGNORE_LABEL`` is left out; where all are, the loss is 0.
        """
        assert batch.labels is not None
        labels = batch.labels[:, 0]
        known = labels != IGNORE_LABEL
        some = known.any()
        # The mean over none would be 0 / 0, and so would its gradient.
        targets = torch.where(known, labels + self.class_offset, torch.where(some, _LEFT_OUT, 0))
        loss = F.cross_entropy(raw.float(), targets, ignore_index=_LEFT_OUT, label_smoothing=self.label_smoothing)
        return {"class": loss * some}
