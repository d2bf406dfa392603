"""What goes through a head: features described, and predictions before any decision."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class FeatureInfo(NamedTuple):
    """What a head must know of a feature map before it is built."""

    channels: int
    stride: int


class BoxPredictions(NamedTuple):
    """What a box head says of every anchor, before any decision; what box losses take.

    Attributes:
        deltas: [B, A, 4], encoded offsets from ``anchors`` (:func:`mnv2dense.ops.boxes.encode`).
        logits: [B, A, K + 1] with the background first where scores are a softmax, [B, A, K] where sigmoids.
        anchors: [A, 4], xyxy in pixels of the model's input.
    """

    deltas: Tensor
    logits: Tensor
    anchors: Tensor


class PointPredictions(NamedTuple):
    """What a head without anchors says of every point of its maps, before any decision; P points of L levels.

    Attributes:
        distances: [B, P, 4], from the point to the left, top, right and bottom side of its box, in strides of its
            level; below 0 where the side lies on the point's other side.
        logits: [B, P, K], a sigmoid for each class, no background.
        points: [P, 2], (x, y) of the middle of each cell in pixels of the model's input, the finest level first.
        strides: [P], pixels between neighbours on the point's level.
        counts: how many points each level has, L numbers that add up to P.
    """

    distances: Tensor
    logits: Tensor
    points: Tensor
    strides: Tensor
    counts: tuple[int, ...]


class ScoredBoxes(NamedTuple):
    """Decoded predictions: fixed shape, no threshold and no NMS yet; what an exported file gives.

    Attributes:
        boxes: [B, A, 4], xyxy in pixels of the model's input, clipped to it.
        scores: [B, A, K], 0..1, without background.
    """

    boxes: Tensor
    scores: Tensor


class PixelLogits(NamedTuple):
    """What a segmentation head decodes: scores on its own grid, and the input that they are of.

    Attributes:
        logits: float32 [B, K, h, w].
        size: (height, width) of the model's input, pixels.
    """

    logits: Tensor
    size: tuple[int, int]
