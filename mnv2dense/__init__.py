"""mnv2dense: boxes and masks for small devices, on one MobileNetV2."""

from mnv2dense.backbones.mobilenet_v2 import MobileNetV2 as MobileNetV2
from mnv2dense.costs.complexity import complexity as complexity
from mnv2dense.costs.split import memory_bound as memory_bound
from mnv2dense.costs.split import split_inference as split_inference
from mnv2dense.heads.classifier import ClassifierHead as ClassifierHead
from mnv2dense.heads.deeplab_v3 import DeepLabV3Head as DeepLabV3Head
from mnv2dense.heads.ssdlite import SSDLiteHead as SSDLiteHead
from mnv2dense.inference.predictor import Predictor as Predictor
from mnv2dense.inference.tiles import Tiles as Tiles
from mnv2dense.losses.cross_entropy import CrossEntropyLoss as CrossEntropyLoss
from mnv2dense.losses.focal import SigmoidFocalLoss as SigmoidFocalLoss
from mnv2dense.losses.multibox import MultiBoxLoss as MultiBoxLoss
from mnv2dense.models.architectures import deeplabv3_mobilenet_v2 as deeplabv3_mobilenet_v2
from mnv2dense.models.architectures import mobilenet_v2_classifier as mobilenet_v2_classifier
from mnv2dense.models.architectures import ssdlite320_mobilenet_v2 as ssdlite320_mobilenet_v2
from mnv2dense.models.backbone import mobilenet_v2 as mobilenet_v2
from mnv2dense.models.checkpoint import load_model as load_model
from mnv2dense.models.checkpoint import save_model as save_model
from mnv2dense.models.convert import save_safetensors as save_safetensors
from mnv2dense.models.convert import to_huggingface as to_huggingface
from mnv2dense.models.convert import to_torchvision as to_torchvision
from mnv2dense.models.dense_model import DenseModel as DenseModel
from mnv2dense.models.dense_model import build_model as build_model
from mnv2dense.models.hub import from_pretrained as from_pretrained
from mnv2dense.models.hub import push_to_hub as push_to_hub
from mnv2dense.models.hub import save_pretrained as save_pretrained
from mnv2dense.types import Batch as Batch
from mnv2dense.types import Classification as Classification
from mnv2dense.types import Detections as Detections
from mnv2dense.types import FeatureInfo as FeatureInfo
from mnv2dense.types import Infos as Infos
from mnv2dense.types import Segmentation as Segmentation

__version__ = "0.1.0"
