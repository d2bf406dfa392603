"""Cross-entropy of the hardest pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnv2dense.losses.pixel_truth import pixel_truth, pixel_weights, weights_buffer
from mnv2dense.types import IGNORE_INDEX, Batch


@final
class OhemCrossEntropy(nn.Module):
    """Softmax cross-entropy, averaged over the pixels that the model is not yet sure of (Wu et al. 2016).

    Online hard example mining (Shrivastava et al. 2016) for pixels: one counts if its true class is given a
    probability below ``threshold``, but never fewer count than the hardest ``keep`` of the batch. Pixels as hard as
    the last one chosen count, too. Computed in float32; costs exactly 0 if every pixel is ignored.

    Args:
        threshold: probability of the true class from which on a pixel is easy, above 0 up to 1; 1 keeps all.
        keep: least share of the pixels that are not ignored, 0..1.
        class_weights: as for :class:`mnv2dense.losses.pixel_cross_entropy.PixelCrossEntropy`; they do not change
            which pixels count.
        align_corners: how logits are enlarged; see :func:`mnv2dense.losses.pixel_truth.pixel_truth`.

    Raises:
        ValueError: an option outside its values.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        threshold: float = 0.7,
        keep: float = 0.0625,
        class_weights: Sequence[float] | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold={threshold}: a probability above 0, up to 1; 0.7 is usual.")
        if not 0 <= keep <= 1:
            raise ValueError(f"keep={keep}: a share of the pixels, 0 to 1; 1 / 16 is usual.")
        self.threshold = threshold
        self.keep = keep
        self.align_corners = align_corners
        self.register_buffer("class_weights", weights_buffer(class_weights), persistent=False)

    def forward(self, raw: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Logits [B, K, h, w] and ``batch.masks`` [B, H, W] -> ``cross_entropy``, a scalar."""
        truth = pixel_truth(raw, batch, align_corners=self.align_corners)
        costs = F.cross_entropy(truth.logits, truth.labels, ignore_index=IGNORE_INDEX, reduction="none")
        hard = truth.valid & (costs.detach() >= self._least_cost(costs.detach(), truth.valid))
        weights = torch.where(hard, pixel_weights(truth, self.class_weights), 0.0)
        total = weights.sum()
        return {"cross_entropy": (costs * weights).sum() / total.where(total > 0, 1.0)}

    def _least_cost(self, costs: Tensor, valid: Tensor) -> Tensor:
        """What a pixel must cost to count, a scalar: [B, H, W], 0 where ignored -> []."""
        # How many must count depends on how many are ignored, which only the device knows; so the most that could
        # be needed are found, and the one to stop at is read off among them. Ignored pixels cost 0: they come last.
        hardest = costs.flatten().topk(max(1, math.ceil(self.keep * costs.numel()))).values
        needed = (valid.sum() * self.keep).ceil().long().clamp(1, len(hardest))
        return hardest.gather(0, needed.unsqueeze(0) - 1).squeeze(0).clamp(max=-math.log(self.threshold))
