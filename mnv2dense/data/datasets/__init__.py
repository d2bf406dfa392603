"""Data sets, one format a file."""

from mnv2dense.data.datasets.ade20k import Ade20kMasks
from mnv2dense.data.datasets.cityscapes import CityscapesMasks
from mnv2dense.data.datasets.coco import CocoDetection
from mnv2dense.data.datasets.coco_masks import CocoMasks
from mnv2dense.data.datasets.coco_panoptic import PanopticMasks
from mnv2dense.data.datasets.image_folder import ImageFolder
from mnv2dense.data.datasets.joint import JointDataset
from mnv2dense.data.datasets.mask_folder import MaskFolder
from mnv2dense.data.datasets.voc import VocDetection
from mnv2dense.data.datasets.voc_masks import VocMasks
from mnv2dense.data.datasets.yolo import YoloDetection

__all__ = [
    "Ade20kMasks",
    "CityscapesMasks",
    "CocoDetection",
    "CocoMasks",
    "ImageFolder",
    "JointDataset",
    "MaskFolder",
    "PanopticMasks",
    "VocDetection",
    "VocMasks",
    "YoloDetection",
]
