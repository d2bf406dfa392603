"""Box arithmetic: formats, areas, overlaps, the SSD box coder, clipping and non-maximum suppression.

Boxes are xyxy in absolute pixels unless a name says otherwise. A box without a positive width and height is
degenerate: its area and every overlap with it are 0, never NaN.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

BoxScales = tuple[float, float, float, float]

CODER_SCALES: BoxScales = (10.0, 10.0, 5.0, 5.0)
"""The box coder's factors for x, y, w, h of TensorFlow's SSD: they bring the four targets to unit spread."""

# Keeps exp() finite whatever a network says: 62.5 times the anchor's side is far beyond any image, and in
# float16 still below the overflow. The bound is the one Fast R-CNN's successors settled on.
_MAX_LOG_STRETCH = math.log(1000 / 16)

# A side shorter than this has no useful logarithm; only padding and broken input come below it.
_SMALLEST_SIDE_PX = 1e-3


def xywh_to_xyxy(boxes: Tensor) -> Tensor:
    """[..., 4] (left, top, width, height) -> [..., 4] (left, top, right, bottom)."""
    corner, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat((corner, corner + size), dim=-1)


def xyxy_to_xywh(boxes: Tensor) -> Tensor:
    """[..., 4] (left, top, right, bottom) -> [..., 4] (left, top, width, height)."""
    corner, opposite = boxes[..., :2], boxes[..., 2:]
    return torch.cat((corner, opposite - corner), dim=-1)


def area(boxes: Tensor) -> Tensor:
    """[..., 4] -> [...], square pixels; 0 for a degenerate box."""
    left, top, right, bottom = boxes.unbind(-1)
    return (right - left).clamp(min=0) * (bottom - top).clamp(min=0)


def pairwise_intersection(first: Tensor, second: Tensor) -> Tensor:
    """Shared area of every pair: [..., N, 4] and [..., M, 4] -> [..., N, M], square pixels.

    Leading dimensions broadcast, so [B, N, 4] against [M, 4] gives [B, N, M].
    """
    # One coordinate at a time, and the long dimension contiguous: the [..., N, M] results decide the speed,
    # and on a CPU fresh memory costs more than arithmetic, hence the in-place steps.
    left, top, right, bottom = first.unsqueeze(-2).unbind(-1)
    by_coordinate = second.transpose(-1, -2).contiguous().unsqueeze(-3)
    other_left, other_top, other_right, other_bottom = by_coordinate.unbind(-2)
    width = torch.minimum(right, other_right).sub_(torch.maximum(left, other_left)).clamp_(min=0)
    height = torch.minimum(bottom, other_bottom).sub_(torch.maximum(top, other_top)).clamp_(min=0)
    return width.mul_(height)


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of every pair: [..., N, 4] and [..., M, 4] -> [..., N, M], 0..1."""
    shared = pairwise_intersection(first, second)
    union = area(first).unsqueeze(-1) + area(second).unsqueeze(-2) - shared
    return shared / union.clamp(min=torch.finfo(union.dtype).tiny)


def generalized_iou(first: Tensor, second: Tensor) -> Tensor:
    """GIoU of boxes one by one (Rezatofighi et al. 2019, algorithm 1): [..., 4] and [..., 4] -> [...], -1..1.

    The IoU, less the share of their common hull that neither fills: it has a gradient where the boxes do not meet.
    """
    left, top, right, bottom = first.unbind(-1)
    other_left, other_top, other_right, other_bottom = second.unbind(-1)
    width = torch.minimum(right, other_right) - torch.maximum(left, other_left)
    height = torch.minimum(bottom, other_bottom) - torch.maximum(top, other_top)
    shared = width.clamp(min=0) * height.clamp(min=0)
    smallest = torch.finfo(shared.dtype).tiny
    union = (area(first) + area(second) - shared).clamp(min=smallest)
    hull_width = torch.maximum(right, other_right) - torch.minimum(left, other_left)
    hull_height = torch.maximum(bottom, other_bottom) - torch.minimum(top, other_top)
    hull = (hull_width.clamp(min=0) * hull_height.clamp(min=0)).clamp(min=smallest)
    return shared / union - (hull - union).clamp(min=0) / hull


def pairwise_coverage(first: Tensor, second: Tensor) -> Tensor:
    """How much of each second box lies inside each first: [..., N, 4], [..., M, 4] -> [..., N, M], 0..1.

    COCO's overlap with a crowd: a large region covers a small box wholly, although their IoU is near 0.
    """
    second_area = area(second).unsqueeze(-2)
    return pairwise_intersection(first, second) / second_area.clamp(min=torch.finfo(second_area.dtype).tiny)


def encode(boxes: Tensor, anchors: Tensor, *, scales: BoxScales = CODER_SCALES) -> Tensor:
    """Express boxes as offsets from anchors (SSD, section 2.2, with the usual variances as factors).

    Args:
        boxes: [..., A, 4], xyxy in pixels, one for each anchor.
        anchors: [A, 4], xyxy in the same pixels.
        scales: factors of the x, y, w, h offsets.

    Returns:
        [..., A, 4], (dx, dy, dw, dh), unitless; finite even for a degenerate box.
    """
    x, y, width, height = _centre_form(boxes)
    anchor_x, anchor_y, anchor_width, anchor_height = _centre_form(anchors)
    return torch.stack(
        (
            scales[0] * (x - anchor_x) / anchor_width,
            scales[1] * (y - anchor_y) / anchor_height,
            scales[2] * torch.log(width / anchor_width),
            scales[3] * torch.log(height / anchor_height),
        ),
        dim=-1,
    )


def decode(deltas: Tensor, anchors: Tensor, *, scales: BoxScales = CODER_SCALES) -> Tensor:
    """Turn offsets from anchors back into boxes: the inverse of :func:`encode`.

    Args:
        deltas: [..., A, 4], (dx, dy, dw, dh), unitless, in any floating type.
        anchors: [A, 4], xyxy in pixels of the model's input.
        scales: the factors that :func:`encode` was given.

    Returns:
        [..., A, 4], xyxy in the same pixels and the anchors' type, not clipped; no side is longer than 62.5
        times its anchor's.
    """
    dx, dy, dw, dh = deltas.to(anchors.dtype).unbind(-1)
    anchor_x, anchor_y, anchor_width, anchor_height = _centre_form(anchors)
    x = anchor_x + dx / scales[0] * anchor_width
    y = anchor_y + dy / scales[1] * anchor_height
    half_width = 0.5 * anchor_width * torch.exp((dw / scales[2]).clamp(max=_MAX_LOG_STRETCH))
    half_height = 0.5 * anchor_height * torch.exp((dh / scales[3]).clamp(max=_MAX_LOG_STRETCH))
    return torch.stack((x - half_width, y - half_height, x + half_width, y + half_height), dim=-1)


def _centre_form(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """[..., 4] xyxy -> centre x, centre y, width, height, [...] each; sides bounded away from 0."""
    left, top, right, bottom = boxes.unbind(-1)
    width = (right - left).clamp(min=_SMALLEST_SIDE_PX)
    height = (bottom - top).clamp(min=_SMALLEST_SIDE_PX)
    return (left + right) / 2, (top + bottom) / 2, width, height


def clip(boxes: Tensor, height: float, width: float) -> Tensor:
    """Cut boxes [..., 4] to an image of ``height`` x ``width`` pixels; one wholly outside gets area 0."""
    left, top, right, bottom = boxes.unbind(-1)  # and not every second one: ncnn has no slices with steps
    return torch.stack(
        (left.clamp(0, width), top.clamp(0, height), right.clamp(0, width), bottom.clamp(0, height)), dim=-1
    )


# Of ``limit``: boxes that are looked at before all are.
_FIRST = 5


def nms(boxes: Tensor, scores: Tensor, labels: Tensor, *, iou_threshold: float, limit: int) -> Tensor:
    """Greedy non-maximum suppression within each class; boxes of different classes never suppress each other.

    Args:
        boxes: [N, 4], xyxy in pixels.
        scores: [N].
        labels: [N], int64.
        iou_threshold: a box is dropped when its IoU with a better one of its class is above this.
        limit: at most this many are kept, over all classes.

    Returns:
        int64 [at most ``limit``], indices of the kept boxes, best score first; its size depends on values.
    """
    if not len(boxes):
        return labels.new_zeros(0)
    device = labels.device
    if device.type == "mps":  # has no float64
        boxes, scores, labels = boxes.cpu(), scores.cpu(), labels.cpu()
    # Classes are moved apart, so that no two of them overlap; in float64, where that costs their corners no digits.
    # From the lowest corner to the highest: boxes that are not clipped reach out of the image on either side.
    # Of finite ones alone: what overflowed in one image must not undo the others'.
    finite = boxes.double().nan_to_num(0, 0, 0)
    apart = labels.double() * (finite.max() - finite.min().clamp(max=0) + 1)
    boxes, scores = boxes.double() + apart[:, None], scores.double()
    if boxes.device.type == "cpu" and len(boxes) > _FIRST * limit:
        # What is kept depends on better boxes alone, and time grows with the square of their number.
        best = scores.sort(descending=True, stable=True).indices[: _FIRST * limit]
        kept = best[_nms_operator()(boxes[best], scores[best], iou_threshold)]
        if len(kept) >= limit:
            return kept[:limit].to(device)
    return _nms_operator()(boxes, scores, iou_threshold)[:limit].to(device)


def nms_of_images(
    boxes: Tensor, scores: Tensor, labels: Tensor, image: Tensor, *, images: int, iou_threshold: float, limit: int
) -> list[Tensor]:
    """As :func:`nms` for each of several images, with one call for all: a GPU is waited for once, not once an image.

    Args:
        boxes: [N, 4], xyxy in pixels, of all images.
        scores: [N].
        labels: [N], int64, 0 or more.
        image: [N], int64, 0..``images`` - 1, ascending.
        images: how many there are.
        iou_threshold: see :func:`nms`.
        limit: at most this many are kept in each image.

    Returns:
        For each image int64 [at most ``limit``], indices of its kept boxes among the N, best score first.
    """
    if images == 1:
        return [nms(boxes, scores, labels, iou_threshold=iou_threshold, limit=limit)]
    # Two images never meet, as two classes of one do not.
    kept = nms(boxes, scores, labels * images + image, iou_threshold=iou_threshold, limit=len(boxes))
    of = image[kept]
    kept = kept[of.argsort(stable=True)]
    counts: list[int] = torch.bincount(of, minlength=images).tolist()
    return [each[:limit] for each in torch.split(kept, counts)]


@functools.cache
def _nms_operator() -> Callable[[Tensor, Tensor, float], Tensor]:
    """Torchvision's compiled NMS, alone: importing the package around it takes as long as importing torch."""
    spec = importlib.util.find_spec("torchvision")
    libraries = sorted(Path(spec.origin).parent.glob("_C*")) if spec is not None and spec.origin else []
    for library in libraries if not hasattr(torch.ops.torchvision, "nms") else ():
        with contextlib.suppress(OSError):  # then the package may know how to load it
            torch.ops.load_library(library)  # type: ignore[no-untyped-call]
    if not hasattr(torch.ops.torchvision, "nms"):
        from torchvision.ops import nms as operator

        return cast("Callable[[Tensor, Tensor, float], Tensor]", operator)
    return cast("Callable[[Tensor, Tensor, float], Tensor]", torch.ops.torchvision.nms)
