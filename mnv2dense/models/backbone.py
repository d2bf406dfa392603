"""The backbones, from pretrained weights where some are named: what a config may name as ``backbone._target_``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from mnv2dense.backbones.blocks import Bottleneck, Padding, Shortcut
from mnv2dense.backbones.mobilenet_v1 import MobileNetV1
from mnv2dense.backbones.mobilenet_v2 import MobileNetV2
from mnv2dense.models.finite import check_finite
from mnv2dense.pretrained.contents import OVERRIDES, Pretrained, options_of
from mnv2dense.pretrained.reading import read_pretrained

_Kind = TypeVar("_Kind", bound=nn.Module)


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
    return _with_weights(
        MobileNetV2,
        weights,
        width_mult=width_mult,
        output_stride=output_stride,
        features=features,
        depth_mult=depth_mult,
        scale_ends=scale_ends,
        expansion=expansion,
        bottleneck=bottleneck,
        shortcut=shortcut,
        padding=padding,
        norm_eps=norm_eps,
        norm_momentum=norm_momentum,
        mean=mean,
        std=std,
    )


def mobilenet_v1(
    *,
    width_mult: float | None = None,
    output_stride: int = 32,
    features: Sequence[str] = ("last_conv",),
    weights: str | Path | None = None,
    head_conv: bool | None = None,
    padding: Padding | None = None,
    norm_eps: float | None = None,
    norm_momentum: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> MobileNetV1:
    """A :class:`MobileNetV1`, from pretrained weights if ``weights`` names some; as :func:`mobilenet_v2`.

    Args:
        width_mult: width multiplier; None takes the weights' own.
        output_stride: 8, 16 or 32; strides past it become dilations.
        features: names to return, in this order: "stride2" (64 channels at width 1.0), "stride4" (128), "stride8"
            (256), "stride16" and "stride16_expanded" (512), "last_bottleneck" and "last_conv" (1024). Layers past the
            deepest of them do not exist.
        weights: a name, file or folder that :func:`mnv2dense.pretrained.read_pretrained` takes, or None for random
            weights.
        head_conv: of the weights, or None.
        padding: override.
        norm_eps: override.
        norm_momentum: override; fine-tuning for a few hundred steps wants more than TensorFlow's 0.0003.
        mean: override.
        std: override.

    Raises:
        ValueError: weights of another width or shape, not a MobileNetV1, or with NaN or infinity in them.
        FileNotFoundError: no such weights.
    """
    return _with_weights(
        MobileNetV1,
        weights,
        width_mult=width_mult,
        output_stride=output_stride,
        features=features,
        head_conv=head_conv,
        padding=padding,
        norm_eps=norm_eps,
        norm_momentum=norm_momentum,
        mean=mean,
        std=std,
    )


FACTORIES: tuple[Callable[..., nn.Module], ...] = (mobilenet_v2, mobilenet_v1)
"""The functions of ours that a config may name; each is a choice of ``backbone=`` under its own name."""


def _with_weights(
    kind: type[_Kind],
    weights: str | Path | None,
    *,
    output_stride: int,
    features: Sequence[str],
    **named: Any,  # noqa: ANN401 - the constructor checks them
) -> _Kind:
    """A backbone of a kind; options that are None are the weights' own, or the constructor's defaults.

    Raises:
        ValueError: weights of another kind, width or shape, or with NaN or infinity in them.
    """
    options: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if weights is None:
        return kind(output_stride=output_stride, features=features, **options)
    pretrained = read_pretrained(weights)
    _check_kind(weights, pretrained, kind)
    _check_shape(weights, pretrained, options)
    options = pretrained.options | options
    try:
        with torch.device("meta"):  # shapes alone: a small file must not ask for a large network
            wanted = kind(output_stride=output_stride, features=features, **options).state_dict()
    except (ValueError, TypeError) as error:
        raise ValueError(f"{weights}: {error}") from error
    missing = sorted(wanted.keys() - pretrained.backbone.keys())
    if missing:
        raise ValueError(
            f"{weights}: {len(missing)} tensors of the backbone are missing, first {missing[0]!r}. "
            f"The file is not a whole {kind.__name__} of the paper's layout."
        )
    unfit = [name for name in wanted if wanted[name].shape != pretrained.backbone[name].shape]
    if unfit:
        raise ValueError(
            f"{weights}: {unfit[0]!r} is {list(pretrained.backbone[unfit[0]].shape)} in the file and "
            f"{list(wanted[unfit[0]].shape)} in the model; its tensors and its config do not belong together."
        )
    model = kind(output_stride=output_stride, features=features, **options)
    try:
        check_finite(model, pretrained.backbone)
    except ValueError as error:
        raise ValueError(f"{weights}: {error}") from error
    model.load_state_dict({name: pretrained.backbone[name] for name in wanted})
    return model


def _check_kind(weights: str | Path, pretrained: Pretrained, kind: type[nn.Module]) -> None:
    if pretrained.kind is not kind:
        raise ValueError(
            f"{weights}: these are weights of a {pretrained.kind.__name__}, the model asks for a {kind.__name__}. "
            f"Choose backbone={choice_of(pretrained.kind)}, or weights of a {kind.__name__}."
        )


def choice_of(kind: type[nn.Module]) -> str:
    """What the choice of ``backbone=`` is called that makes backbones of a kind."""
    made = {factory.__annotations__["return"]: factory.__name__ for factory in FACTORIES}
    return made[kind.__name__]


def _check_shape(weights: str | Path, pretrained: Pretrained, asked: dict[str, Any]) -> None:
    # What weights do not speak of is as in a network without weights.
    own = {name: option.default for name, option in options_of(pretrained.kind).items()} | pretrained.options
    for name, value in asked.items():
        if name not in OVERRIDES and own[name] != value:
            raise ValueError(
                f"{weights}: these weights have {name}={own[name]}, the model asks for {value}. "
                f"Give {name}={own[name]} or leave it out, or choose weights of that {name}."
            )
