"""The model: built, fused, saved, restored, converted, on the hub."""

from mnv2dense.models.architectures import (
    deeplabv3_mobilenet_v2,
    mobilenet_v2_classifier,
    points320_mobilenet_v2,
    ssdlite320_mobilenet_v2,
)
from mnv2dense.models.backbone import mobilenet_v1, mobilenet_v2
from mnv2dense.models.checkpoint import load_model, load_weights, save_model
from mnv2dense.models.convert import save_safetensors, to_huggingface, to_torchvision
from mnv2dense.models.dense_model import DenseModel, build_model
from mnv2dense.models.fuse import fold_batch_norms
from mnv2dense.models.hub import from_pretrained, push_to_hub, save_pretrained
from mnv2dense.models.normalize import Normalize

__all__ = [
    "DenseModel",
    "Normalize",
    "build_model",
    "deeplabv3_mobilenet_v2",
    "fold_batch_norms",
    "from_pretrained",
    "load_model",
    "load_weights",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v2_classifier",
    "points320_mobilenet_v2",
    "push_to_hub",
    "save_model",
    "save_pretrained",
    "save_safetensors",
    "ssdlite320_mobilenet_v2",
    "to_huggingface",
    "to_torchvision",
]
