"""Augmentation by albumentations, which nothing else imports; each a function of (sample, seed)."""

import os

# albumentations asks PyPI for its newest version when imported, unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from mnv2dense.data.augment.classification import ClassificationAugment
from mnv2dense.data.augment.colour import colour_matrix
from mnv2dense.data.augment.detection import DetectionAugment
from mnv2dense.data.augment.segmentation import SegmentationAugment

__all__ = ["ClassificationAugment", "DetectionAugment", "SegmentationAugment", "colour_matrix"]
