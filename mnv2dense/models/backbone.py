"""The backbone, from pretrained weights where some are named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mnv2dense.backbones.blocks import Bottleneck, Padding, Shortcut
from mnv2dense.backbones.mobilenet_v2 import MobileNetV2
from mnv2dense.models.finite import check_finite
from mnv2dense.pretrained.contents import Pretrained
from mnv2dense.pretrained.reading import read_pretrained


def mobilenet_v2(
    *,
    width_mult: float | None = None,
    output_stride: int = 32,
    features: Sequence[str] = ("last_conv",),
    weights: str | Path | None = None,
    depth_mult: float | None = None,
    scale_ends: bool | None = None,
    expansion: int | None = None,
    bottleneck: Bottleneck | None = None,
    shortcut: Shortcut | None = None,
    padding: Padding | None = None,
    norm_eps: float | None = None,
    norm_momentum: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> MobileNetV2:
    """A :class:`MobileNetV2`, from pretrained weights if ``weights`` names some.

    Width, depth, padding, batch-norm constants and normalisation belong to the weights and come with them. The last
    three can be named here to override them; the shape of the network has to be the weights' own. Without weights,
    what is None is the constructor's default.

    Args:
        width_mult: width multiplier; None takes the weights' own.
        output_stride: 8, 16 or 32; strides past it become dilations.
        features: names to return, in this order: "stride2" (16 channels at width 1.0), "stride4" (24), "stride8" (32),
            "stride16" (96), "stride16_expanded" (576), "last_bottleneck" (320), "last_conv" (1280). Layers past the
            deepest of them do not exist.
        weights: a name, file or folder that :func:`mnv2dense.pretrained.read_pretrained` takes, or None for random
            weights.
        depth_mult: of the weights, or None.
        scale_ends: of the weights, or None.
        expansion: of the weights, or None.
        bottleneck: of the weights, or None.
        shortcut: of the weights, or None.
        padding: override.
        norm_eps: override.
        norm_momentum: override; fine-tuning for a few hundred steps wants more than TensorFlow's 0.003.
        mean: override.
        std: override.

    Raises:
        ValueError: weights of another width or shape, not a MobileNetV2, or with NaN or infinity in them.
        FileNotFoundError: no such weights.
    """
    shape: dict[str, Any] = {
        "width_mult": width_mult,
        "depth_mult": depth_mult,
        "scale_ends": scale_ends,
        "expansion": expansion,
        "bottleneck": bottleneck,
        "shortcut": shortcut,
    }
    belonging: dict[str, Any] = {
        "padding": padding,
        "norm_eps": norm_eps,
        "norm_momentum": norm_momentum,
        "mean": mean,
        "std": std,
    }
    options: dict[str, Any] = {name: value for name, value in (shape | belonging).items() if value is not None}
    if weights is None:
        return MobileNetV2(output_stride=output_stride, features=features, **options)
    pretrained = read_pretrained(weights)
    _check_shape(weights, pretrained, {name: value for name, value in shape.items() if value is not None})
    options = pretrained.options | options
    try:
        with torch.device("meta"):  # shapes alone: a small file must not ask for a large network
            wanted = MobileNetV2(output_stride=output_stride, features=features, **options).state_dict()
    except (ValueError, TypeError) as error:
        raise ValueError(f"{weights}: {error}") from error
    missing = sorted(wanted.keys() - pretrained.backbone.keys())
    if missing:
        raise ValueError(
            f"{weights}: {len(missing)} tensors of the backbone are missing, first {missing[0]!r}. "
            "The file is not a whole MobileNetV2 of the paper's layout."
        )
    unfit = [name for name in wanted if wanted[name].shape != pretrained.backbone[name].shape]
    if unfit:
        raise ValueError(
            f"{weights}: {unfit[0]!r} is {list(pretrained.backbone[unfit[0]].shape)} in the file and "
            f"{list(wanted[unfit[0]].shape)} in the model; its tensors and its config do not belong together."
        )
    model = MobileNetV2(output_stride=output_stride, features=features, **options)
    try:
        check_finite(model, pretrained.backbone)
    except ValueError as error:
        raise ValueError(f"{weights}: {error}") from error
    model.load_state_dict({name: pretrained.backbone[name] for name in wanted})
    return model


# What a network without weights has, and weights that do not speak of it.
_SHAPE_DEFAULTS: dict[str, Any] = {
    "depth_mult": 1.0,
    "scale_ends": True,
    "expansion": 6,
    "bottleneck": "linear",
    "shortcut": "bottleneck",
}


def _check_shape(weights: str | Path, pretrained: Pretrained, asked: dict[str, Any]) -> None:
    own = _SHAPE_DEFAULTS | pretrained.options
    for name, value in asked.items():
        if own[name] != value:
            raise ValueError(
                f"{weights}: these weights have {name}={own[name]}, the model asks for {value}. "
                f"Give {name}={own[name]} or leave it out, or choose weights of that {name}."
            )
