"""Non-maximum suppression in tensors of fixed shape, for runtimes without sizes that depend on values."""

from __future__ import annotations

import torch
from torch import Tensor

# What brings a difference of areas, square pixels, to at least 1.
_FAR_APART = 2.0**100

# Pixels, beyond any image: areas of what ends there are finite, so that a difference of two is a number.
_FARTHEST = 1e6


def fixed_shape_nms(
    boxes: Tensor, scores: Tensor, *, score_threshold: float, nms_threshold: float, candidates: int, limit: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Threshold and greedy per-class NMS in tensors of fixed shape: for runtimes without data-dependent sizes.

    The same boxes as :func:`mnv2dense.ops.boxes.nms` keeps, in the same order. Each of ``limit`` steps takes the best
    box that is left and drops those it suppresses, which is the definition itself; nothing is approximated.

    Args:
        boxes: float32 [B, A, 4], xyxy in pixels.
        scores: float32 [B, A, K].
        score_threshold: (anchor, class) pairs below it are no candidates.
        nms_threshold: a box is dropped when its IoU with a better one of its class is above this.
        candidates: how many of the best-scored pairs take part.
        limit: N, how many boxes come out.

    Returns:
        Boxes [B, N, 4], scores [B, N] descending, labels int32 [B, N]; where there is no box, zeros and the label -1.
    """
    classes = scores.shape[2]
    count = min(candidates, scores.shape[1] * classes)
    values, pairs = scores.flatten(1).topk(count, dim=1)
    anchors = torch.div(pairs, classes, rounding_mode="floor")
    labels = pairs - anchors * classes
    chosen = boxes.gather(1, anchors[..., None].expand(-1, -1, 4))
    # What is no number overlaps nothing: in float arithmetic one such pair would spoil all that come after.
    whole = chosen.sum(dim=2, keepdim=True)
    comparable = torch.where(whole == whole, chosen, 0.0).clamp(-_FARTHEST, _FARTHEST)
    survives = _survivors(comparable, labels, nms_threshold)
    # Candidates are sorted, so the best that is left is the first: the one with the largest of these.
    order = torch.arange(count, 0, -1, dtype=torch.float32, device=boxes.device)
    alive = (values >= score_threshold).float()
    picks, present = [], []
    for _ in range(limit):
        top = (alive * order).amax(dim=1, keepdim=True)  # 0 where none is left
        best = (float(count) - top).clamp(max=count - 1.0).long()
        picks.append(best)
        present.append(top.clamp(max=1.0))
        later = (top - order).clamp(0.0, 1.0)
        alive = alive * later * survives.gather(1, best[..., None].expand(-1, -1, count))[:, 0]
    index, found = torch.cat(picks, dim=1), torch.cat(present, dim=1)
    kept_labels = torch.where(found > 0, labels.gather(1, index), -1).to(torch.int32)
    kept_boxes = chosen.gather(1, index[..., None].expand(-1, -1, 4)) * found[..., None]
    return kept_boxes, values.gather(1, index) * found, kept_labels


def _survivors(boxes: Tensor, labels: Tensor, nms_threshold: float) -> Tensor:
    """[B, N, 4], [B, N] -> float32 [B, N, N]: 1 where the second box stays when the first is taken, else 0.

    All of it is float arithmetic: runtimes that compute that in vectors compare a million pairs one by one.
    """
    width = _shared(boxes[..., 0], boxes[..., 2])
    height = _shared(boxes[..., 1], boxes[..., 3])
    overlap = width * height
    areas = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    union = areas[:, :, None] + areas[:, None] - overlap
    # Not a quotient: two degenerate boxes have neither overlap nor union.
    stays = 1.0 - ((overlap - nms_threshold * union) * _FAR_APART).clamp(0, 1)
    numbers = labels.float()
    apart = numbers[:, :, None] - numbers[:, None]
    return torch.maximum(stays, (apart * apart).clamp(0, 1))


def _shared(low: Tensor, high: Tensor) -> Tensor:
    """Where spans begin and end, [B, N] each -> [B, N, N], how much two of them share."""
    begin, end = torch.maximum(low[:, :, None], low[:, None]), torch.minimum(high[:, :, None], high[:, None])
    return (end - begin).clamp(min=0)
