"""The loss of points: classes whose scores say how good the box is, and GIoU on boxes."""

from __future__ import annotations

from typing import Literal, final, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnv2dense.ops.boxes import generalized_iou
from mnv2dense.ops.point_matching import PointTargets, Scene, match_by_statistics, match_task_aligned
from mnv2dense.ops.points import boxes_at
from mnv2dense.types import IGNORE_LABEL, Batch, PointPredictions

Classification = Literal["varifocal", "quality_focal", "cross_entropy"]
"""How scores are compared with the wanted quality q: VarifocalNet's loss (Zhang et al. 2021, section 4.2), which weighs
objects by q and background by 0.75 * score ** 2; Generalized Focal Loss's (Li et al. 2020), which weighs
both by (q - score) ** 2; or binary cross-entropy as it is."""

_VARIFOCAL_ALPHA = 0.75
_FOCUS = 2.0


@final
class TaskAlignedLoss(nn.Module):
    """Points are matched by what they say themselves; their scores learn how good their boxes are (TOOD, section 3).

    The score of the right class shall be the quality that :func:`mnv2dense.ops.point_matching.match_task_aligned` wants
    of a point, of all others 0. A box counts by that quality, as 1 - GIoU. Points in regions to ignore do not count.
    Both terms are sums over the batch divided by its summed quality; computed in float32.

    Args:
        classification: see :data:`Classification`.
        candidates: points of each truth, and what ties with the last of them.
        alpha: how much the score counts for the alignment.
        beta: how much the IoU counts.
        static_epochs: epochs at the beginning in which points are matched by their places alone, with
            :func:`mnv2dense.ops.point_matching.match_by_statistics`, while predictions mean little.
        class_weight: factor of the classification term.
        box_weight: factor of the box term.

    Attributes:
        scores: what the head's logits must be.

    Raises:
        ValueError: an option outside its values.
    """

    scores: Literal["quality"] = "quality"

    def __init__(
        self,
        *,
        classification: Classification = "varifocal",
        candidates: int = 13,
        alpha: float = 1.0,
        beta: float = 6.0,
        static_epochs: int = 0,
        class_weight: float = 1.0,
        box_weight: float = 2.0,
    ) -> None:
        super().__init__()
        if classification not in get_args(Classification):
            raise ValueError(f"classification={classification!r} must be one of {', '.join(get_args(Classification))}.")
        if candidates < 1:
            raise ValueError(f"candidates={candidates}: a truth needs at least one point; 13 is usual.")
        if alpha < 0 or beta <= 0:
            raise ValueError(f"alpha is {alpha} and beta {beta}: 0 or more, and above 0; TOOD has 1 and 6.")
        if static_epochs < 0:
            raise ValueError(f"static_epochs={static_epochs}: it counts epochs; 0 has none.")
        self.classification: Classification = classification
        self.candidates = candidates
        self.alpha = alpha
        self.beta = beta
        self.static_epochs = static_epochs
        self.class_weight = class_weight
        self.box_weight = box_weight
        self._static = static_epochs > 0

    def begin_epoch(self, epoch: int) -> None:
        """Match by places in the first epochs, counted from 0; see :class:`mnv2dense.protocols.FollowsEpochs`."""
        self._static = epoch < self.static_epochs

    def forward(self, raw: PointPredictions, batch: Batch) -> dict[str, Tensor]:
        """Compare predictions with truth.

        Args:
            raw: of any floating type.
            batch: boxes [B, M, 4] and labels [B, M] are read.

        Returns:
            ``classification`` and ``box``, scalars; finite and differentiable without any object, too.

        Raises:
            ValueError: ``raw`` is of a head with anchors, or the batch has no boxes.
        """
        _check(raw, batch)
        return self.compare(raw, self.match(raw, batch))

    def match(self, raw: PointPredictions, batch: Batch) -> PointTargets:
        """What each point should have said, by what ``raw`` says."""
        assert batch.boxes is not None
        assert batch.labels is not None
        boxes = boxes_at(raw.distances.detach().float(), raw.points, raw.strides)
        scores = raw.logits.detach().float().sigmoid()
        scene = Scene(batch.boxes.float(), batch.labels, boxes, scores, raw.points, raw.strides, raw.counts)
        if self._static:
            return match_by_statistics(scene)
        return match_task_aligned(scene, candidates=self.candidates, alpha=self.alpha, beta=self.beta)

    def compare(self, raw: PointPredictions, targets: PointTargets) -> dict[str, Tensor]:
        """What ``raw`` says with what it should have said."""
        logits = raw.logits.float()
        boxes = boxes_at(raw.distances.float(), raw.points, raw.strides)
        normaliser = targets.quality.sum().clamp(min=1.0)
        surprise = self._surprise(logits, targets).masked_fill(targets.labels == IGNORE_LABEL, 0.0)
        distance = targets.quality * (1 - generalized_iou(boxes, targets.boxes))
        return {
            "classification": self.class_weight * surprise.sum() / normaliser,
            "box": self.box_weight * distance.sum() / normaliser,
        }

    def _surprise(self, logits: Tensor, targets: PointTargets) -> Tensor:
        """[B, P], summed over classes."""
        is_class = targets.labels.unsqueeze(-1) == torch.arange(logits.shape[-1], device=logits.device)
        wanted = torch.where(is_class, targets.quality.unsqueeze(-1), 0.0)
        surprise = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        if self.classification == "varifocal":
            background = _VARIFOCAL_ALPHA * logits.sigmoid() ** _FOCUS
            surprise = surprise * torch.where(is_class, wanted, background)
        elif self.classification == "quality_focal":
            surprise = surprise * (wanted - logits.sigmoid()).abs() ** _FOCUS
        return surprise.sum(dim=-1)


def _check(raw: object, batch: Batch) -> None:
    lacking = [name for name in PointPredictions._fields if not hasattr(raw, name)]
    if lacking:
        raise ValueError(
            f"The head gives {type(raw).__name__} without {', '.join(lacking)}, and losses of points take "
            f"mnv2dense.types.PointPredictions ({', '.join(PointPredictions._fields)}); choose head=points, or a loss "
            "that fits the head, as multibox fits SSDLite."
        )
    if batch.boxes is None or batch.labels is None:
        raise ValueError(
            "A box loss got a batch whose boxes or labels are None: its data set has masks or classes only. "
            "Train a detection head on a data set with boxes, or choose the loss of the other task."
        )
