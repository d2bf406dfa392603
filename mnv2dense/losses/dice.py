"""Dice: how much the predicted and the true region of each class overlap."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from mnv2dense.losses.pixel_truth import mean_over, pixel_truth, shown_by
from mnv2dense.types import Batch


@final
class DiceLoss(nn.Module):
    """1 - Dice of probabilities, averaged over the classes that the batch shows (Milletari et al. 2016, section 3).

    For each class, twice the overlap divided by the sum of both regions, over all pixels of the batch; a class counts
    alike however few its pixels are. Regions are sums of probabilities, not of their squares, as in Sudre et al. 2017.
    A class without a pixel in the batch is left out: its Dice would be 0 whatever is predicted. Computed in float32;
    costs exactly 0 if every pixel is ignored.

    Args:
        align_corners: how logits are enlarged; see :func:`mnv2dense.losses.pixel_truth.pixel_truth`.
    """

    def __init__(self, *, align_corners: bool = False) -> None:
        super().__init__()
        self.align_corners = align_corners

    def forward(self, raw: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Logits [B, K, h, w] and ``batch.masks`` [B, H, W] -> ``dice``, a scalar, 0..1."""
        truth = pixel_truth(raw, batch, align_corners=self.align_corners)
        probabilities = torch.where(truth.valid.unsqueeze(1), truth.logits.softmax(dim=1), 0.0)
        shown = shown_by(truth.labels, num_classes=raw.shape[1])
        pixels = (0, 2, 3)
        overlap = torch.where(shown, probabilities, 0.0).sum(pixels)
        true = shown.sum(pixels)
        dice = 2 * overlap / (probabilities.sum(pixels) + true).clamp(min=1)  # a class that is there has a pixel
        return {"dice": mean_over(true > 0, 1 - dice)}
