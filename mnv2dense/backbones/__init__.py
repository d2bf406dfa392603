"""Feature extractors as modules, and their layers as numbers."""

from mnv2dense.backbones.blocks import ConvNormAct, InvertedResidual
from mnv2dense.backbones.layout import FEATURE_NAMES, Layout
from mnv2dense.backbones.mobilenet_v1 import MobileNetV1
from mnv2dense.backbones.mobilenet_v2 import MobileNetV2

BACKBONES = (MobileNetV2, MobileNetV1)
"""Every feature extractor here: what the config of a file may name, and what weights can be of."""

__all__ = ["BACKBONES", "FEATURE_NAMES", "ConvNormAct", "InvertedResidual", "Layout", "MobileNetV1", "MobileNetV2"]
