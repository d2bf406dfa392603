"""A small model of boxes and masks, and the two of one head each that it is made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mnv2dense.backbones.mobilenet_v2 import MobileNetV2
from mnv2dense.heads.classifier import ClassifierHead
from mnv2dense.heads.deeplab_v3 import DeepLabV3Head
from mnv2dense.heads.joint import JointHead
from mnv2dense.heads.ssdlite import SSDLiteHead
from mnv2dense.models.dense_model import DenseModel
from tests.helpers.small_models import seen

SIZE = (96, 96)
BOXES = ("ant", "bee", "cat")
MASKS = ("background", "road", "sky")
CARS = ("bus", "van")


def joint_model(*, cars: bool = False, scene: bool = False) -> DenseModel:
    """Heads that share a feature and have another each; scores spread, so that nothing hangs on rounding.

    Args:
        cars: whether there is a second head of boxes, with classes of its own.
        scene: whether there is a head that classifies the whole image.
    """
    torch.manual_seed(0)
    backbone = MobileNetV2(width_mult=0.35, features=("stride4", "stride8"))
    info = backbone.feature_info
    boxes = SSDLiteHead(info, size=SIZE, class_names=BOXES, extra_channels=(32, 32, 32, 32))
    masks = DeepLabV3Head(info, size=SIZE, class_names=MASKS, channels=32)
    nn.init.normal_(masks.classifier.weight, std=0.5)
    heads: dict[str, nn.Module] = {"boxes": boxes, "masks": masks}
    if cars:
        heads["cars"] = SSDLiteHead(info, size=SIZE, class_names=CARS, extra_channels=(32, 32, 32, 32))
    if scene:
        heads["scene"] = ClassifierHead({"stride8": info["stride8"]}, size=SIZE, class_names=("day", "night"))
    with torch.no_grad():
        for name, parameter in nn.ModuleDict(heads).named_parameters():
            if not name.startswith(("masks.", "scene.")) and "class" in name and parameter.shape[2:] == (1, 1):
                parameter *= 60
    return seen(DenseModel(backbone, JointHead(heads), size=SIZE))


def alone(model: DenseModel, name: str) -> DenseModel:
    """A model of one of the heads, with the weights of the joint one."""
    part = model.head.parts[name]  # type: ignore[index, union-attr]
    kind = SSDLiteHead if name == "boxes" else DeepLabV3Head
    options = {key: value for key, value in part.config.items() if key not in ("_target_", "features")}
    backbone = MobileNetV2(width_mult=0.35, features=tuple(part.config["features"]))
    head = kind(backbone.feature_info, size=SIZE, class_names=part.class_names, **options)
    made = DenseModel(backbone, head, size=SIZE)
    made.load_state_dict(weights_of(model, name))
    return made.eval()


def weights_of(model: DenseModel, name: str) -> dict[str, Tensor]:
    """Those of the backbone and of one head, as a model of that head alone calls them."""
    own = f"head.parts.{name}."
    state = model.state_dict()
    backbone = {key: tensor for key, tensor in state.items() if key.startswith("backbone.") or "normalize" in key}
    return backbone | {f"head.{key.removeprefix(own)}": tensor for key, tensor in state.items() if key.startswith(own)}
