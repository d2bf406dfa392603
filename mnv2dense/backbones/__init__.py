"""MobileNetV2: the feature extractor as modules, and its layers as numbers."""

from mnv2dense.backbones.blocks import ConvNormAct, InvertedResidual
from mnv2dense.backbones.layout import FEATURE_NAMES, Layout
from mnv2dense.backbones.mobilenet_v2 import MobileNetV2

__all__ = ["FEATURE_NAMES", "ConvNormAct", "InvertedResidual", "Layout", "MobileNetV2"]
