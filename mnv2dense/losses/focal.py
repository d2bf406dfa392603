"""Sigmoid focal loss on every anchor, and smooth L1 on boxes."""

from __future__ import annotations

from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnv2dense.losses.box_term import check_threshold, matched
from mnv2dense.types import IGNORE_LABEL, Batch, BoxPredictions


@final
class SigmoidFocalLoss(nn.Module):
    """The loss of RetinaNet (Lin et al. 2017, section 3), for one sigmoid per class and no background column.

    Every anchor counts, but the ones already right hardly: cross-entropy times (1 - p)^gamma, where p is the
    probability given to the right answer. Ignored anchors do not count. Both terms are sums over the batch
    divided by its number of matched anchors; computed in float32.

    Args:
        alpha: weight of "is this class" against 1 - alpha of "is not", 0..1.
        gamma: how quickly easy answers stop to count; 0 is plain cross-entropy.
        threshold: least IoU, 0..1, at which an anchor follows a truth; see :func:`mnv2dense.ops.matching.match`.
        class_weight: factor of the classification term.
        box_weight: factor of the box term.

    Attributes:
        scores: what the head's logits must be.

    Raises:
        ValueError: alpha or the threshold lies outside 0..1, or gamma is negative.
    """

    scores: Literal["sigmoid"] = "sigmoid"

    def __init__(
        self,
        *,
        alpha: float = 0.25,
        gamma: float = 2.0,
        threshold: float = 0.5,
        class_weight: float = 1.0,
        box_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_threshold(threshold)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha is {alpha}: it shares weight between yes and no, 0 to 1; the paper has 0.25.")
        if gamma < 0:
            raise ValueError(f"gamma is {gamma}: below 0 easy anchors would dominate; the paper has 2.")
        self.alpha = alpha
        self.gamma = gamma
        self.threshold = threshold
        self.class_weight = class_weight
        self.box_weight = box_weight

    def forward(self, raw: BoxPredictions, batch: Batch) -> dict[str, Tensor]:
        """Compare predictions with truth.

        Args:
            raw: logits [B, A, K]; any floating type.
            batch: boxes [B, M, 4] and labels [B, M] are read.

        Returns:
            ``classification`` and ``box``, scalars; finite and differentiable without any object, too.
        """
        truth = matched(raw, batch, threshold=self.threshold)
        logits = raw.logits.float()
        is_class = truth.labels.unsqueeze(-1) == torch.arange(logits.shape[-1], device=logits.device)
        right = torch.where(is_class, logits, -logits)  # sigmoid(right) is p of the right answer
        # (1 - p)^gamma as exp(gamma * log(1 - p)): a power's gradient is infinite at 0 for gamma below 1.
        focus = torch.exp(self.gamma * F.logsigmoid(-right))
        weight = torch.where(is_class, self.alpha, 1 - self.alpha)
        surprise = -(weight * focus * F.logsigmoid(right)).sum(dim=-1)
        classification = surprise.masked_fill(truth.labels == IGNORE_LABEL, 0.0).sum() / truth.normaliser
        return {"classification": self.class_weight * classification, "box": self.box_weight * truth.box}
