"""mnv2dense: boxes and masks for small devices, on one MobileNetV2."""

from mnv2dense.backbones.mobilenet_v2 import MobileNetV2 as MobileNetV2
from mnv2dense.backbones.mobilenet_v2 import mobilenet_v2 as mobilenet_v2
from mnv2dense.checkpoint import load_model as load_model
from mnv2dense.checkpoint import save_model as save_model
from mnv2dense.heads.classifier import ClassifierHead as ClassifierHead
from mnv2dense.heads.ssdlite import SSDLiteHead as SSDLiteHead
from mnv2dense.losses.focal import SigmoidFocalLoss as SigmoidFocalLoss
from mnv2dense.losses.multibox import MultiBoxLoss as MultiBoxLoss
from mnv2dense.model import DenseModel as DenseModel
from mnv2dense.model import build_model as build_model
from mnv2dense.model import mobilenet_v2_classifier as mobilenet_v2_classifier
from mnv2dense.model import ssdlite320_mobilenet_v2 as ssdlite320_mobilenet_v2
from mnv2dense.predictor import Predictor as Predictor
from mnv2dense.types import Batch as Batch
from mnv2dense.types import Classification as Classification
from mnv2dense.types import Detections as Detections
from mnv2dense.types import FeatureInfo as FeatureInfo
from mnv2dense.types import Infos as Infos

__version__ = "0.1.0"
