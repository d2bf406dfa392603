"""timm's MobileNets: mobilenetv2_035 to _140, the deeper 110d and 120d; mobilenetv1_100, _100h and _125."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mnv2dense.backbones import MobileNetV1, MobileNetV2
from mnv2dense.pretrained.architectures import architecture_of
from mnv2dense.pretrained.contents import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Kind,
    Pretrained,
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
        ValueError: not all tensors of a MobileNetV2 or MobileNetV1, or a config of another network.
    """
    config = config or {}
    kind = _kind_of(tensors)
    family = kind.__name__.lower()
    architecture = str(config.get("architecture", family))
    if not architecture.startswith(family):
        raise ValueError(f"its config.json has architecture={architecture!r}, this backbone takes {family}_*.")
    entries = Entries(config, "config.json")
    # Older files have the entries of pretrained_cfg beside "architecture".
    own = Entries(entries.table("pretrained_cfg") or config, "config.json")
    backbone = renamed(tensors, _layer_names(tensors, kind))
    head = renamed(tensors, {"classifier": "classifier"})
    mean, std = _NORMALISED_BY[kind]
    return Pretrained(
        source="timm",
        backbone=backbone,
        options={
            **architecture_of(backbone, kind=kind),
            "padding": "torch",
            "norm_eps": 1e-5,
            "norm_momentum": 0.1,
            "mean": own.three("mean", mean),
            "std": own.three("std", std, positive=True),
        },
        head=head,
        model=_classifier(own, config, int(head["classifier.weight"].shape[0]))
        if "classifier.weight" in head
        else None,
        kind=kind,
    )


# Normalisation of weights without a config.
_NORMALISED_BY: dict[Kind, tuple[tuple[float, ...], tuple[float, ...]]] = {
    MobileNetV1: ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    MobileNetV2: (IMAGENET_MEAN, IMAGENET_STD),
}


def _kind_of(tensors: Mapping[str, Tensor]) -> Kind:
    """MobileNetV1 is the one network of this kind whose blocks all end in the first 1x1 convolution that they have."""
    return MobileNetV2 if any(name.endswith(".conv_pwl.weight") for name in tensors) else MobileNetV1


def _classifier(own: Entries, config: Mapping[str, Any], columns: int) -> dict[str, Any]:
    names = config.get("label_names") or own.content.get("label_names")
    listed = [str(name) for name in names] if isinstance(names, list) and len(names) == columns else None
    channels_and_sides = own.content.get("input_size") or (3, 224, 224)
    if not isinstance(channels_and_sides, (list, tuple)) or len(channels_and_sides) != 3:
        raise own.error("input_size", "three whole numbers: channels, height, width")
    return classifier_config(columns, names=listed, size=own.sides("input_size", channels_and_sides[1:]))


# Our part of a block -> timm's convolution and batch norm of it, in its first stage and in all later ones.
_PARTS: dict[Kind, tuple[dict[str, tuple[str, str]], dict[str, tuple[str, str]]]] = {
    MobileNetV1: ({"depthwise": ("conv_dw", "bn1"), "pointwise": ("conv_pw", "bn2")},) * 2,
    MobileNetV2: (
        {"depthwise": ("conv_dw", "bn1"), "projection": ("conv_pw", "bn2")},  # no expansion
        {"expansion": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "projection": ("conv_pwl", "bn3")},
    ),
}


def _layer_names(tensors: Mapping[str, Tensor], kind: Kind) -> dict[str, str]:
    """Our name of each convolution and batch norm -> timm's, which numbers blocks within stages."""
    found = (re.fullmatch(r"blocks\.(\d+)\.(\d+)\.conv_dw\.weight", name) for name in tensors)
    places = sorted((int(match[1]), int(match[2])) for match in found if match)
    names = {"stem.0": "conv_stem", "stem.1": "bn1"}
    for block, (stage, position) in enumerate(places):
        for part, layers in _PARTS[kind][stage > 0].items():
            for number, layer in enumerate(layers):
                names[f"blocks.{block}.{part}.{number}"] = f"blocks.{stage}.{position}.{layer}"
    return names | {"last_conv.0": "conv_head", "last_conv.1": "bn2"}
