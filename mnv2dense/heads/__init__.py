"""What turns features into boxes, masks or classes."""

from mnv2dense.heads.classifier import ClassifierHead
from mnv2dense.heads.deeplab_v3 import DeepLabV3Head
from mnv2dense.heads.joint import JointHead
from mnv2dense.heads.points import PointHead
from mnv2dense.heads.ssdlite import SSDLiteHead

__all__ = ["ClassifierHead", "DeepLabV3Head", "JointHead", "PointHead", "SSDLiteHead"]
