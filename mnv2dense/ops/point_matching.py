"""Which point answers for which ground-truth box, and how well it should say so: for a whole padded batch at once.

Runs inside the training step: fixed shapes, no loop over images or boxes, no host sync.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mnv2dense.ops.boxes import pairwise_iou
from mnv2dense.ops.matching import BACKGROUND
from mnv2dense.types import IGNORE_LABEL

# Sides of ATSS's anchors, in strides: one square at each point.
_ATSS_SIDE = 8.0


class Scene(NamedTuple):
    """What both ways of matching compare: the truth of a batch, and what the model says now.

    Attributes:
        boxes: float32 [B, M, 4], xyxy in pixels of the model's input; M may be 0.
        labels: int64 [B, M], 0..K-1, or ``PADDING_LABEL`` or ``IGNORE_LABEL``; only objects are matched.
        predicted: float32 [B, P, 4], xyxy in the same pixels, what the points say now.
        scores: float32 [B, P, K], 0..1, what they say of each class.
        points: float32 [P, 2], pixels.
        strides: float32 [P], pixels.
        counts: how many points each level has, the finest first.
    """

    boxes: Tensor
    labels: Tensor
    predicted: Tensor
    scores: Tensor
    points: Tensor
    strides: Tensor
    counts: Sequence[int]


class PointTargets(NamedTuple):
    """What each point should have said.

    Attributes:
        labels: int64 [B, P], 0..K-1 where matched, ``IGNORE_LABEL`` where a region to ignore has the point and no
            object does, else ``BACKGROUND``.
        boxes: float32 [B, P, 4], the truth matched; a box of one cell at points without one.
        quality: float32 [B, P], 0..1, the score that is wanted of the class; 0 where unmatched.
    """

    labels: Tensor
    boxes: Tensor
    quality: Tensor


@torch.no_grad()
def match_task_aligned(scene: Scene, *, candidates: int = 13, alpha: float = 1.0, beta: float = 6.0) -> PointTargets:
    """Points that are good at both tasks for a truth answer for it (TOOD, Feng et al. 2021, section 3.2).

    A point's alignment with a truth that it lies in is t = score ** alpha * IoU ** beta, by what the model says now.
    Each truth takes the ``candidates`` points of the highest t; a point that several want goes to the one with which
    its IoU is highest. Wanted is t scaled so that the best point of each truth is asked for the highest IoU that this
    truth has.

    Args:
        scene: truth and predictions.
        candidates: points of each truth, and what ties with the last of them.
        alpha: how much the score counts.
        beta: how much the IoU counts.
    """
    if scene.boxes.shape[1] == 0:
        return _nothing(scene)
    iou = pairwise_iou(scene.boxes, scene.predicted)
    wanted = scene.labels.clamp(min=0).unsqueeze(-1).expand(-1, -1, scene.points.shape[0])
    said = scene.scores.transpose(1, 2).gather(1, wanted)
    alignment = (said**alpha * iou**beta).masked_fill(~_may_answer(scene), 0.0)
    least = alignment.topk(min(candidates, alignment.shape[2]), dim=2).values[..., -1:]
    chosen = (alignment >= least) & (alignment > 0)
    match = _one_truth_each(chosen, iou)
    own = match.unsqueeze(1) == torch.arange(alignment.shape[1], device=match.device).unsqueeze(-1)
    alignment = alignment * own
    best = alignment.amax(dim=2, keepdim=True)
    top_iou = (iou * own).amax(dim=2, keepdim=True)
    quality = (alignment / best.clamp(min=torch.finfo(best.dtype).tiny) * top_iou).amax(dim=1)
    return _targets(scene, match, quality)


@torch.no_grad()
def match_by_statistics(scene: Scene, *, per_level: int = 9) -> PointTargets:
    """Points near a truth's middle answer for it, whatever the model says (ATSS, Zhang et al. 2020, section 4.1).

    Of each level the ``per_level`` points nearest to the middle of a truth are looked at, each with a square of 8
    strides around it. Of those that lie in the truth, those answer whose square's IoU with it is at least the mean plus
    the standard deviation over all that are looked at, or else the best: where there are few levels, no point may come
    up to that. A point that several want goes to the one of the highest IoU. Wanted is the IoU of what the point
    predicts now.

    Args:
        scene: truth and predictions.
        per_level: points looked at on each level, and those as far away as the last of them.
    """
    if scene.boxes.shape[1] == 0:
        return _nothing(scene)
    half = (scene.strides * (_ATSS_SIDE / 2)).unsqueeze(-1)
    squares = torch.cat((scene.points - half, scene.points + half), dim=-1)
    overlap = pairwise_iou(scene.boxes, squares)
    middle = (scene.boxes[..., :2] + scene.boxes[..., 2:]) / 2
    distance = (middle.unsqueeze(2) - scene.points).square().sum(dim=-1)
    near = []
    for level in torch.split(distance, list(scene.counts), dim=2):
        farthest = level.topk(min(per_level, level.shape[2]), dim=2, largest=False).values[..., -1:]
        near.append(level <= farthest)
    looked_at = torch.cat(near, dim=2)
    count = looked_at.sum(dim=2, keepdim=True)
    mean = (overlap * looked_at).sum(dim=2, keepdim=True) / count
    spread = ((overlap - mean).square() * looked_at).sum(dim=2, keepdim=True) / (count - 1).clamp(min=1)
    eligible = looked_at & _may_answer(scene)
    best = overlap.masked_fill(~eligible, 0.0).amax(dim=2, keepdim=True)
    chosen = eligible & (overlap >= torch.minimum(mean + spread.sqrt(), best))
    match = _one_truth_each(chosen, overlap)
    iou = pairwise_iou(scene.boxes, scene.predicted)
    quality = iou.gather(1, match.clamp(min=0).unsqueeze(1)).squeeze(1)
    return _targets(scene, match, quality)


def _may_answer(scene: Scene) -> Tensor:
    """Bool [B, M, P]: the point lies in the object, or the object's middle in the point's cell of the finest level.

    The latter for objects that lie between the points.
    """
    corner, opposite = scene.boxes[..., :2].unsqueeze(2), scene.boxes[..., 2:].unsqueeze(2)
    inside = ((scene.points > corner) & (scene.points < opposite)).all(dim=-1)
    offset = ((corner + opposite) / 2 - scene.points).abs().amax(dim=-1)
    finest = torch.arange(scene.points.shape[0], device=scene.points.device) < scene.counts[0]
    return (inside | ((offset <= scene.strides / 2) & finest)) & (scene.labels >= 0).unsqueeze(-1)


def _one_truth_each(chosen: Tensor, preference: Tensor) -> Tensor:
    """Bool and float [B, M, P] -> int64 [B, P]: of those that chose a point the preferred one, -1 for none."""
    best, match = preference.masked_fill(~chosen, -1.0).max(dim=1)
    return match.masked_fill(best < 0, -1)


def _targets(scene: Scene, match: Tensor, quality: Tensor) -> PointTargets:
    matched = match >= 0
    truth = match.clamp(min=0)
    boxes = scene.boxes.gather(1, truth.unsqueeze(-1).expand(-1, -1, 4))
    labels = torch.where(matched, scene.labels.gather(1, truth), BACKGROUND)
    corner, opposite = scene.boxes[..., :2].unsqueeze(2), scene.boxes[..., 2:].unsqueeze(2)
    inside = ((scene.points >= corner) & (scene.points <= opposite)).all(dim=-1)
    ignored = (inside & (scene.labels == IGNORE_LABEL).unsqueeze(-1)).any(dim=1)
    return PointTargets(
        labels=torch.where(ignored & ~matched, IGNORE_LABEL, labels),
        boxes=torch.where(matched.unsqueeze(-1), boxes, _cells(scene)),
        quality=torch.where(matched, quality, 0.0),
    )


def _nothing(scene: Scene) -> PointTargets:
    """Of a batch whose images have no row of truth."""
    images, points = scene.predicted.shape[:2]
    return PointTargets(
        labels=scene.labels.new_full((images, points), BACKGROUND),
        boxes=_cells(scene).expand(images, -1, -1),
        quality=scene.predicted.new_zeros(images, points),
    )


def _cells(scene: Scene) -> Tensor:
    half = scene.strides.unsqueeze(-1) / 2
    return torch.cat((scene.points - half, scene.points + half), dim=-1)
