"""Cross-entropy of every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

from mnv2dense.losses.pixel_truth import pixel_truth, pixel_weights, weights_buffer
from mnv2dense.types import IGNORE_INDEX, Batch


@final
class PixelCrossEntropy(nn.Module):
    """Softmax cross-entropy, averaged over all pixels of the batch that count (Long et al. 2015, section 4).

    Logits are enlarged to the masks, not masks shrunk to the logits, as DeepLabv3 found better (Chen et al. 2017,
    section 4.1, "upsampling logits"). Computed in float32. A batch in which every pixel is ignored costs exactly 0.

    Args:
        class_weights: one factor per class, 0 or more; the mean is weighted by them, so that only their ratios
            matter. None weighs all pixels alike. :func:`mnv2dense.data.class_weights.class_weights` finds some.
        label_smoothing: share of the target that is spread over all classes, 0 up to 1.
        align_corners: how logits are enlarged; see :func:`mnv2dense.losses.pixel_truth.pixel_truth`.

    Raises:
        ValueError: an option outside its values.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing={label_smoothing}: a share from 0 up to, but not including, 1.")
        self.label_smoothing = label_smoothing
        self.align_corners = align_corners
        # Not saved: the config says them, and a run may be resumed with others.
        self.register_buffer("class_weights", weights_buffer(class_weights), persistent=False)

    def forward(self, raw: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Logits [B, K, h, w] and ``batch.masks`` [B, H, W] -> ``cross_entropy``, a scalar."""
        truth = pixel_truth(raw, batch, align_corners=self.align_corners)
        weights = pixel_weights(truth, self.class_weights)
        costs = F.cross_entropy(
            truth.logits,
            truth.labels,
            weight=self.class_weights,
            ignore_index=IGNORE_INDEX,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        total = weights.sum()
        return {"cross_entropy": costs.sum() / total.where(total > 0, 1.0)}
