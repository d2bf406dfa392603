"""SSD's loss: softmax over classes and background, with hard negatives, and smooth L1 on boxes."""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor, nn

from mnv2dense.losses.box_term import check_threshold, matched
from mnv2dense.ops.matching import BACKGROUND
from mnv2dense.types import Batch, BoxPredictions


@final
class MultiBoxLoss(nn.Module):
    """The loss of SSD, section 2.2, for logits whose first column is the background.

    Anchors that match a truth learn its class and box. Of the background anchors, hundreds to each object,
    only those with the highest loss count ("hard negative mining"), image by image; ignored ones do not.
    Both terms are sums over the batch divided by its number of matched anchors; computed in float32.

    Args:
        threshold: least IoU, 0..1, at which an anchor follows a truth; see :func:`mnv2dense.ops.matching.match`.
        negatives_per_positive: background anchors kept for each matched one of the same image.
        min_negatives: kept at least, so that images without objects teach too.
        class_weight: factor of the classification term.
        box_weight: factor of the box term.

    Attributes:
        scores: what the head's logits must be.

    Raises:
        ValueError: a factor or count is negative, or the threshold lies outside 0..1.
    """

    scores: Literal["softmax"] = "softmax"

    def __init__(
        self,
        *,
        threshold: float = 0.5,
        negatives_per_positive: float = 3.0,
        min_negatives: int = 3,
        class_weight: float = 1.0,
        box_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_threshold(threshold)
        if negatives_per_positive < 0 or min_negatives < 0:
            raise ValueError(
                f"negatives_per_positive is {negatives_per_positive} and min_negatives {min_negatives}: "
                "neither can be below 0; SSD keeps 3 negatives for each positive."
            )
        self.threshold = threshold
        self.negatives_per_positive = negatives_per_positive
        self.min_negatives = min_negatives
        self.class_weight = class_weight
        self.box_weight = box_weight

    def forward(self, raw: BoxPredictions, batch: Batch) -> dict[str, Tensor]:
        """Compare predictions with truth.

        Args:
            raw: logits [B, A, K + 1], background first; any floating type.
            batch: boxes [B, M, 4] and labels [B, M] are read.

        Returns:
            ``classification`` and ``box``, scalars; finite and differentiable without any object, too.
        """
        truth = matched(raw, batch, threshold=self.threshold)
        logits = raw.logits.float()
        column = truth.labels.clamp(min=BACKGROUND) + 1  # class k stands in column k + 1
        surprise = logits.logsumexp(dim=-1) - logits.gather(-1, column.unsqueeze(-1)).squeeze(-1)
        negatives = self._hardest_negatives(surprise, truth.labels)
        classification = (torch.where(truth.labels >= 0, surprise, 0.0).sum() + negatives) / truth.normaliser
        return {"classification": self.class_weight * classification, "box": self.box_weight * truth.box}

    def _hardest_negatives(self, surprise: Tensor, labels: Tensor) -> Tensor:
        """The summed loss of the background anchors that count: [B, A], [B, A] -> scalar."""
        is_background = labels == BACKGROUND
        positives = (labels >= 0).sum(dim=1)
        kept = (positives * self.negatives_per_positive).long().clamp(min=self.min_negatives)
        kept = torch.minimum(kept, is_background.sum(dim=1))
        # Sorted, the kept ones are the first of each row: their sum needs neither ranks nor a way back, and
        # is exact even where losses tie. Stable: ties give the gradient to the same anchors in every run.
        negatives = surprise.masked_fill(~is_background, -torch.inf)
        hardest, _ = negatives.sort(dim=1, descending=True, stable=True)
        place = torch.arange(labels.shape[1], device=labels.device)
        return torch.where(place < kept.unsqueeze(1), hardest, 0.0).sum()
