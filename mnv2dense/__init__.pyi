from .backbones.mobilenet_v1 import MobileNetV1
from .backbones.mobilenet_v2 import MobileNetV2
from .costs.complexity import complexity
from .data.module import DataModule
from .export.gate import export_model
from .heads.classifier import ClassifierHead
from .heads.deeplab_v3 import DeepLabV3Head
from .heads.points import PointHead
from .heads.ssdlite import SSDLiteHead
from .inference.explanation import Explanation, explain
from .inference.predictor import Predictor
from .inference.results import ImageClassification, ImageDetections, ImageSegmentation
from .inference.tiles import Tiles
from .inference.tracker import Tracker
from .inference.tracking import Tracking
from .inference.tta import TTA
from .losses.cross_entropy import CrossEntropyLoss
from .losses.dice import DiceLoss
from .losses.focal import SigmoidFocalLoss
from .losses.loss_sum import LossSum
from .losses.lovasz import LovaszSoftmax
from .losses.multibox import MultiBoxLoss
from .losses.ohem import OhemCrossEntropy
from .losses.pixel_cross_entropy import PixelCrossEntropy
from .losses.task_aligned import TaskAlignedLoss
from .models.architectures import (
    deeplabv3_mobilenet_v2,
    mobilenet_v2_classifier,
    points320_mobilenet_v2,
    ssdlite320_mobilenet_v2,
)
from .models.backbone import mobilenet_v1, mobilenet_v2
from .models.checkpoint import load_model, save_model
from .models.convert import save_safetensors, to_huggingface, to_torchvision
from .models.dense_model import DenseModel, build_model
from .models.hub import from_pretrained, push_to_hub, save_pretrained
from .models.normalize import Normalize
from .models.split import memory_bound, split_inference
from .protocols import Model
from .runtimes.checking import check_file
from .runtimes.exam_inputs import check_input
from .runtimes.exported_model import ExportedModel
from .types import Batch, Box, Classification, Detections, FeatureInfo, Infos, Region, Sample, ScoredClass, Segmentation
from .workflows.benchmarking import benchmark
from .workflows.evaluation import evaluate
from .workflows.prediction import predict
from .workflows.training import train

__version__: str

__all__ = [
    "TTA",
    "Batch",
    "Box",
    "Classification",
    "ClassifierHead",
    "CrossEntropyLoss",
    "DataModule",
    "DeepLabV3Head",
    "DenseModel",
    "Detections",
    "DiceLoss",
    "Explanation",
    "ExportedModel",
    "FeatureInfo",
    "ImageClassification",
    "ImageDetections",
    "ImageSegmentation",
    "Infos",
    "LossSum",
    "LovaszSoftmax",
    "MobileNetV1",
    "MobileNetV2",
    "Model",
    "MultiBoxLoss",
    "Normalize",
    "OhemCrossEntropy",
    "PixelCrossEntropy",
    "PointHead",
    "Predictor",
    "Region",
    "SSDLiteHead",
    "Sample",
    "ScoredClass",
    "Segmentation",
    "SigmoidFocalLoss",
    "TaskAlignedLoss",
    "Tiles",
    "Tracker",
    "Tracking",
    "benchmark",
    "build_model",
    "check_file",
    "check_input",
    "complexity",
    "deeplabv3_mobilenet_v2",
    "evaluate",
    "explain",
    "export_model",
    "from_pretrained",
    "load_model",
    "memory_bound",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v2_classifier",
    "points320_mobilenet_v2",
    "predict",
    "push_to_hub",
    "save_model",
    "save_pretrained",
    "save_safetensors",
    "split_inference",
    "ssdlite320_mobilenet_v2",
    "to_huggingface",
    "to_torchvision",
    "train",
]
