"""What travels between data, model, loss, metric and image.

Shape letters, used in every docstring: **B** images, **H W** pixels, **M** ground-truth boxes (padded),
**A** anchors, **P** points, **K** classes, **C** channels, **N** boxes of one image.

Boxes are xyxy, absolute pixels of the tensor they live with, float32, origin top-left, within
[0, W] x [0, H]. Labels are 0..K-1. COCO's xywh and category ids, and VOC's 1-based corners, exist only in
the file that reads or writes that format.
"""

from mnv2dense.types.batches import Batch, BoxColumns, Infos, PackedMask, Sample, Truth
from mnv2dense.types.labels import IGNORE_INDEX, IGNORE_LABEL, PADDING_LABEL, SHOWN_SCORE
from mnv2dense.types.predictions import BoxPredictions, FeatureInfo, PixelLogits, PointPredictions, ScoredBoxes
from mnv2dense.types.results import (
    Box,
    Classification,
    Detections,
    JointResult,
    Region,
    ScoredClass,
    Segmentation,
)
from mnv2dense.types.thresholds import Thresholds

__all__ = [
    "IGNORE_INDEX",
    "IGNORE_LABEL",
    "PADDING_LABEL",
    "SHOWN_SCORE",
    "Batch",
    "Box",
    "BoxColumns",
    "BoxPredictions",
    "Classification",
    "Detections",
    "FeatureInfo",
    "Infos",
    "JointResult",
    "PackedMask",
    "PixelLogits",
    "PointPredictions",
    "Region",
    "Sample",
    "ScoredBoxes",
    "ScoredClass",
    "Segmentation",
    "Thresholds",
    "Truth",
]
