"""torchvision's MobileNetV2: the state dict of ``torchvision.models.mobilenet_v2``, of any width."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from mnv2dense.pretrained.architectures import architecture_of
from mnv2dense.pretrained.contents import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Pretrained,
    classifier_config,
    renamed,
)


def recognises(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are named as torchvision's: the whole network, or its ``features`` alone."""
    return "features.1.conv.0.0.weight" in tensors or "1.conv.0.0.weight" in tensors


def from_tensors(tensors: Mapping[str, Tensor]) -> Pretrained:
    """A backbone and, where there is one, its classifier.

    Args:
        tensors: of the model, or of ``model.features``.

    Raises:
        ValueError: not all tensors of a MobileNetV2.
    """
    if "1.conv.0.0.weight" in tensors:
        tensors = {f"features.{name}": tensor for name, tensor in tensors.items()}
    block_count = sum(re.fullmatch(r"features\.\d+\.conv\.0\.0\.weight", name) is not None for name in tensors)
    backbone = renamed(tensors, layer_names(block_count))
    head = renamed(tensors, {"classifier": "classifier.1"})
    return Pretrained(
        source="torchvision",
        backbone=backbone,
        options={
            **architecture_of(backbone),
            "padding": "torch",
            "norm_eps": 1e-5,
            "norm_momentum": 0.1,
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
        },
        head=head,
        model=classifier_config(int(head["classifier.weight"].shape[0])) if "classifier.weight" in head else None,
    )


def layer_names(block_count: int) -> dict[str, str]:
    """Our name of each convolution and batch norm of the backbone -> torchvision's."""
    names = {"stem.0": "features.0.0", "stem.1": "features.0.1"}
    for block in range(block_count):
        theirs = f"features.{block + 1}.conv"
        inner = ("expansion", "depthwise") if block > 0 else ("depthwise",)
        for position, part in enumerate(inner):
            names |= {f"blocks.{block}.{part}.{layer}": f"{theirs}.{position}.{layer}" for layer in (0, 1)}
        # The linear projection has no activation and no Sequential of its own there.
        names |= {f"blocks.{block}.projection.{layer}": f"{theirs}.{len(inner) + layer}" for layer in (0, 1)}
    return names | {f"last_conv.{layer}": f"features.{block_count + 1}.{layer}" for layer in (0, 1)}
