"""Lovasz-softmax: IoU itself, made smooth enough to learn from."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from mnv2dense.losses.pixel_truth import mean_over, pixel_truth
from mnv2dense.types import Batch


@final
class LovaszSoftmax(nn.Module):
    """The Lovasz extension of 1 - IoU, averaged over the classes that the batch shows (Berman et al. 2018).

    For each class, pixels are sorted by how wrong they are, and each error is weighed by how much IoU falls when its
    pixel joins those counted as wrong. The weights of all pixels of a class sum to 1. Computed in float32; costs
    exactly 0 if every pixel is ignored. Sorting takes most of the time: on a CPU, seconds for large batches.

    Args:
        align_corners: how logits are enlarged; see :func:`mnv2dense.losses.pixel_truth.pixel_truth`.
    """

    def __init__(self, *, align_corners: bool = False) -> None:
        super().__init__()
        self.align_corners = align_corners

    def forward(self, raw: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Logits [B, K, h, w] and ``batch.masks`` [B, H, W] -> ``lovasz``, a scalar, 0..1."""
        truth = pixel_truth(raw, batch, align_corners=self.align_corners)
        valid = truth.valid.flatten()
        labels = truth.labels.flatten()
        # One class at a time: sorted all at once, they would need K times the memory of the longest intermediate.
        losses, present = [], []
        for label, probability in enumerate(truth.logits.softmax(dim=1).unbind(dim=1)):
            true = labels == label
            errors = torch.where(valid, (true.float() - probability.flatten()).abs(), 0.0)
            losses.append((errors * _weights(errors, true, valid)).sum())
            present.append(true.any())
        return {"lovasz": mean_over(torch.stack(present), torch.stack(losses))}


@torch.no_grad()
def _weights(errors: Tensor, true: Tensor, valid: Tensor) -> Tensor:
    """How much 1 - IoU grows with each pixel, taken from the most wrong to the least.

    With t true pixels, of which m are missed so far, and f others taken for them, 1 - IoU = 1 - (t - m) / (t + f). One
    more missed adds 1 / (t + f); one more taken for them (t - m) (1 / (t + f) - 1 / (t + f + 1)). Written so, and not
    as differences of IoU, which in float32 would be mostly rounding for a million pixels.

    Args:
        errors: float32 [P], 0..1.
        true: bool [P], the class's own pixels.
        valid: bool [P], False where ignored.

    Returns:
        float32 [P], in the order given, 0 where ignored.
    """
    # Ignored pixels last; stable, so that ties share the gradient alike in every run.
    order = torch.where(valid, errors, -1.0).argsort(descending=True, stable=True)
    is_true, is_other = true[order], (valid & ~true)[order]
    remaining = true.sum() - is_true.cumsum(0)
    union = (true.sum() + is_other.cumsum(0)).float()  # with this pixel
    of_true = 1 / union.clamp(min=1)
    of_other = remaining / (union * (union - 1)).clamp(min=1)
    grown = torch.where(is_true, of_true, torch.where(is_other, of_other, 0.0))
    return torch.zeros_like(errors).scatter(0, order, grown)
