"""Cross-entropy of whole images, with smoothed labels."""

from __future__ import annotations

from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

from mnv2dense.types import Batch


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
        """Logits [B, class_offset + K] and ``batch.labels`` [B, 1] -> ``class``, the mean over images."""
        assert batch.labels is not None
        targets = batch.labels[:, 0] + self.class_offset
        return {"class": F.cross_entropy(raw.float(), targets, label_smoothing=self.label_smoothing)}
