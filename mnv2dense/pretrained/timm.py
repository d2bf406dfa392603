"""timm's MobileNetV2: mobilenetv2_035 to _140, and the deeper 110d and 120d."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mnv2dense.pretrained.contents import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Pretrained,
    architecture_of,
    classifier_config,
    renamed,
)
from mnv2dense.pretrained.entries import Entries


def recognises(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are named as timm's networks of this kind, EfficientNets among them."""
    return "conv_stem.weight" in tensors and "blocks.0.0.conv_dw.weight" in tensors


def from_tensors(tensors: Mapping[str, Tensor], *, config: Mapping[str, Any] | None = None) -> Pretrained:
    """A backbone and, where there is one, its classifier.

    Args:
        tensors: of the model.
        config: the folder's config.json, if there is one: normalisation, input size and class names.

    Raises:
        ValueError: not all tensors of a MobileNetV2, or a config of another network.
    """
    config = config or {}
    architecture = str(config.get("architecture", "mobilenetv2"))
    if not architecture.startswith("mobilenetv2"):
        raise ValueError(f"its config.json has architecture={architecture!r}, this backbone takes mobilenetv2_*.")
    entries = Entries(config, "config.json")
    # Older files have the entries of pretrained_cfg beside "architecture".
    own = Entries(entries.table("pretrained_cfg") or config, "config.json")
    backbone = renamed(tensors, _layer_names(tensors))
    head = renamed(tensors, {"classifier": "classifier"})
    return Pretrained(
        source="timm",
        backbone=backbone,
        options={
            **architecture_of(backbone),
            "padding": "torch",
            "norm_eps": 1e-5,
            "norm_momentum": 0.1,
            "mean": own.three("mean", IMAGENET_MEAN),
            "std": own.three("std", IMAGENET_STD, positive=True),
        },
        head=head,
        model=_classifier(own, config, int(head["classifier.weight"].shape[0]))
        if "classifier.weight" in head
        else None,
    )


def _classifier(own: Entries, config: Mapping[str, Any], columns: int) -> dict[str, Any]:
    names = config.get("label_names") or own.content.get("label_names")
    listed = [str(name) for name in names] if isinstance(names, list) and len(names) == columns else None
    channels_and_sides = own.content.get("input_size") or (3, 224, 224)
    if not isinstance(channels_and_sides, (list, tuple)) or len(channels_and_sides) != 3:
        raise own.error("input_size", "three whole numbers: channels, height, width")
    return classifier_config(columns, names=listed, size=own.sides("input_size", channels_and_sides[1:]))


# Our part of a block -> timm's convolution and batch norm of it; its first stage has blocks without expansion.
_FIRST_STAGE = {"depthwise": ("conv_dw", "bn1"), "projection": ("conv_pw", "bn2")}
_LATER_STAGES = {
    "expansion": ("conv_pw", "bn1"),
    "depthwise": ("conv_dw", "bn2"),
    "projection": ("conv_pwl", "bn3"),
}


def _layer_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Our name of each convolution and batch norm -> timm's, which numbers blocks within stages."""
    found = (re.fullmatch(r"blocks\.(\d+)\.(\d+)\.conv_dw\.weight", name) for name in tensors)
    places = sorted((int(match[1]), int(match[2])) for match in found if match)
    names = {"stem.0": "conv_stem", "stem.1": "bn1"}
    for block, (stage, position) in enumerate(places):
        for part, layers in (_LATER_STAGES if stage > 0 else _FIRST_STAGE).items():
            for number, layer in enumerate(layers):
                names[f"blocks.{block}.{part}.{number}"] = f"blocks.{stage}.{position}.{layer}"
    return names | {"last_conv.0": "conv_head", "last_conv.1": "bn2"}
