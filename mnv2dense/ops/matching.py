"""Which anchor answers for which ground-truth box: for a whole padded batch at once, with fixed shapes.

Everything up to :func:`assign` runs inside the training step: no loop over images or boxes, no host sync.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor

from mnv2dense.ops.boxes import area, encode, pairwise_intersection, pairwise_iou
from mnv2dense.types import IGNORE_LABEL, Batch

BACKGROUND = -1
"""Match and target label of an anchor that shows no object: one below the first class, as its column is the one before.

An anchor inside a region to ignore, neither object nor background, has the region's own label, ``IGNORE_LABEL``.
"""

# An anchor with more than this share of its area in a crowd may well show one of the crowd's objects.
_MOST = 0.5

# How many anchors a truth may try in turn. Small objects side by side want the same few anchors; with one try
# the losers of such a contest would never be learned.
_CANDIDATES = 8

# IoU that one anchor side of distance between the centres costs. All anchors of one size that contain a small
# truth have the same IoU with it, up to rounding: this prefers the nearest, and overrules no better fit.
_DISTANCE_COST = 1e-3


class Targets(NamedTuple):
    """What each anchor should have said.

    Attributes:
        deltas: float32 [B, A, 4], encoded boxes of the matched truths; zeros at anchors without one.
        labels: int64 [B, A], 0..K-1 where matched, else ``BACKGROUND`` or ``IGNORE_LABEL``.
    """

    deltas: Tensor
    labels: Tensor


@torch.no_grad()
def assign(anchors: Tensor, batch: Batch, *, threshold: float = 0.5) -> Targets:
    """Match a batch's truth to the anchors and encode it: the targets that box losses compare with.

    Args:
        anchors: [A, 4], xyxy in pixels of ``batch.images``.
        batch: its ``boxes`` [B, M, 4] and ``labels`` [B, M] are read; M may be 0.
        threshold: see :func:`match`.

    Raises:
        ValueError: the batch has no boxes.
    """
    boxes, labels = batch.boxes, batch.labels
    if boxes is None or labels is None:
        raise ValueError(
            "A box loss got a batch whose boxes or labels are None: its data set has masks or classes only. "
            "Train a detection head on a data set with boxes, or choose the loss of the other task."
        )
    anchors, boxes = anchors.float(), boxes.float()
    matches = match(anchors, boxes, labels, threshold=threshold)
    if boxes.shape[1] == 0:
        return Targets(boxes.new_zeros(*matches.shape, 4), matches)
    matched = matches >= 0
    truth = matches.clamp(min=0)
    own_boxes = boxes.gather(1, truth.unsqueeze(-1).expand(-1, -1, 4))
    # An anchor without a truth is compared with itself: zero deltas, no logarithm of an empty box.
    own_boxes = torch.where(matched.unsqueeze(-1), own_boxes, anchors)
    return Targets(
        deltas=encode(own_boxes, anchors),
        labels=torch.where(matched, labels.gather(1, truth), matches),
    )


@torch.no_grad()
def match(anchors: Tensor, boxes: Tensor, labels: Tensor, *, threshold: float = 0.5) -> Tensor:
    """The ground-truth box of every anchor (SSD, section 2.2, "matching strategy").

    An anchor takes the truth with which its IoU is highest, if that is at least ``threshold``. Besides, every
    truth gets one anchor for itself, however low their IoU: the best, nearer centres deciding between equals.
    Where several truths want the same anchor, the one with the higher IoU (the first of equals) gets it and
    the others try their next best, eight times at most; who has lost as often stays without one of its own.

    Args:
        anchors: [A, 4], xyxy in pixels.
        boxes: [B, M, 4], xyxy in the same pixels; M may be 0.
        labels: [B, M], 0..K-1, or ``PADDING_LABEL`` or ``IGNORE_LABEL``; only objects are matched.
        threshold: least IoU, 0..1, at which an anchor follows a truth.

    Returns:
        int64 [B, A], the index of the truth among the M; ``IGNORE_LABEL`` where there is none and more than half
        of the anchor lies in a region to ignore; else ``BACKGROUND``.
    """
    images, truths = labels.shape
    count = anchors.shape[0]
    if truths == 0:
        return labels.new_full((images, count), BACKGROUND)
    is_object = labels >= 0
    is_crowd = labels == IGNORE_LABEL

    # One intersection serves both questions; at [B, M, A] it is the costliest tensor of the matching.
    shared = pairwise_intersection(boxes, anchors)
    in_crowd = (shared * is_crowd.unsqueeze(-1)).amax(dim=1) > _MOST * area(anchors)
    # What is no object is infinitely large for the union, so that its IoU is 0 with every anchor.
    areas = area(boxes).masked_fill(~is_object, torch.inf).unsqueeze(-1)
    iou = shared.div_((areas + area(anchors)).sub_(shared))

    best_iou, best_truth = iou.max(dim=1)
    matches = torch.where(in_crowd, IGNORE_LABEL, BACKGROUND)
    matches = torch.where((best_iou >= threshold) & (best_iou > 0), best_truth, matches)

    own_anchor = _one_anchor_each(iou, anchors, boxes)
    # Truths without an anchor write to an extra column, which is cut off again.
    own_anchor = own_anchor.masked_fill(own_anchor < 0, count)
    truth = torch.arange(truths, device=labels.device).expand(images, truths)
    return torch.nn.functional.pad(matches, (0, 1)).scatter(1, own_anchor, truth)[:, :count]


def _one_anchor_each(iou: Tensor, anchors: Tensor, boxes: Tensor) -> Tensor:
    """An anchor for each truth, no anchor twice: int64 [B, M], -1 where a truth has none.

    All truths propose at once to the best of their candidates that has not refused them; an anchor keeps the
    best proposal (Gale and Shapley's deferred acceptance, cut off after one round for each candidate).

    Args:
        iou: [B, M, A], 0 for what is no object.
        anchors: [A, 4].
        boxes: [B, M, 4].
    """
    tries = min(_CANDIDATES, anchors.shape[0])
    overlap, candidates = iou.topk(tries, dim=2)
    nearby = anchors[candidates]
    offset = (nearby[..., :2] + nearby[..., 2:] - (boxes[..., :2] + boxes[..., 2:]).unsqueeze(2)) / 2
    distance = (offset / (nearby[..., 2:] - nearby[..., :2])).abs().sum(dim=-1)
    suits = (overlap - _DISTANCE_COST * distance).masked_fill(overlap <= 0, -torch.inf)
    suits, order = suits.sort(dim=2, descending=True, stable=True)
    candidates = candidates.gather(2, order)

    truth = torch.arange(iou.shape[1], device=iou.device)
    earlier = truth.unsqueeze(0) < truth.unsqueeze(1)
    tried = torch.zeros_like(candidates[..., :1])
    for _ in range(tries):
        suit = suits.gather(2, tried)
        anchor = candidates.gather(2, tried).masked_fill(suit == -torch.inf, -1)
        rival_suit, rival_anchor = suit.transpose(1, 2), anchor.transpose(1, 2)
        rival_wins = (rival_suit > suit) | ((rival_suit == suit) & earlier)
        refused = ((rival_anchor == anchor) & rival_wins).any(dim=2, keepdim=True)
        holding = anchor.masked_fill(refused, -1)
        tried = tried + refused
    return holding.squeeze(2)


def anchor_recall(anchors: Tensor, boxes: Tensor, *, threshold: float = 0.5) -> float:
    """The largest share of one image's boxes that can each have an anchor of their own that fits.

    No matching can do better with these anchors: where many small objects share a cell it is well below 1.
    Exact (a maximum bipartite matching by augmenting paths); for reports, not for training.

    Args:
        anchors: [A, 4], xyxy in pixels of the model's input.
        boxes: [N, 4], xyxy in the same pixels, objects only.
        threshold: least IoU, 0..1, at which an anchor fits a box.

    Returns:
        0..1; 1 for an image without boxes.
    """
    if len(boxes) == 0:
        return 1.0
    iou = pairwise_iou(boxes.float(), anchors.float())
    fits = [row.nonzero().flatten().tolist() for row in (iou >= threshold) & (iou > 0)]
    owner: dict[int, int] = {}
    return sum(_augment(box, fits, owner) for box in range(len(fits))) / len(fits)


def _augment(box: int, fits: list[list[int]], owner: dict[int, int]) -> bool:
    """Give ``box`` an anchor, moving owners to other anchors where that helps; False if nothing does."""
    reached_from: dict[int, int] = {}  # anchor -> the box that would take it
    waiting = deque([box])
    held = {truth: anchor for anchor, truth in owner.items()}
    while waiting:
        taker = waiting.popleft()
        for anchor in fits[taker]:
            if anchor in reached_from:
                continue
            reached_from[anchor] = taker
            if anchor in owner:
                waiting.append(owner[anchor])
                continue
            step: int | None = anchor  # free: everyone along the path moves on by one
            while step is not None:
                mover = reached_from[step]
                owner[step] = mover
                step = held.get(mover)
            return True
    return False
