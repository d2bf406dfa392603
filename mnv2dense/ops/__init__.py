"""Boxes, anchors, matching, the one resize and postprocessing; torch alone."""

from mnv2dense.ops.anchors import default_boxes
from mnv2dense.ops.boxes import decode, encode, nms, pairwise_iou
from mnv2dense.ops.matching import anchor_recall, assign, match
from mnv2dense.ops.postprocess import BoxSelection, ClassSelection, PixelSelection
from mnv2dense.ops.resize import ResizeMode

__all__ = [
    "BoxSelection",
    "ClassSelection",
    "PixelSelection",
    "ResizeMode",
    "anchor_recall",
    "assign",
    "decode",
    "default_boxes",
    "encode",
    "match",
    "nms",
    "pairwise_iou",
]
