"""Feature extractors."""

from mnv2dense.backbones.mobilenet_v2 import MobileNetV2 as MobileNetV2
from mnv2dense.models.backbone import mobilenet_v2 as mobilenet_v2
