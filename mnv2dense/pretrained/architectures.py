"""Which network has tensors of these shapes? Under our names, whosever they were."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mnv2dense.backbones import MobileNetV1, MobileNetV2, mobilenet_v1
from mnv2dense.backbones.layout import layout, width_and_depth
from mnv2dense.pretrained.contents import Kind


def architecture_of(
    backbone: Mapping[str, Tensor], *, kind: Kind = MobileNetV2, width_mult: float | None = None
) -> dict[str, Any]:
    """The options that the shapes of tensors under our names tell.

    ``width_mult``; of a MobileNetV2 ``depth_mult`` and ``scale_ends``, of a MobileNetV1 ``head_conv``.

    Args:
        backbone: all tensors of a backbone; a convolution after the last block may be missing as a whole.
        kind: the backbone they are of.
        width_mult: the width they are said to have; None finds it out.

    Raises:
        ValueError: they are not all of such a backbone's, or one has the shape of another network.
    """
    if "stem.0.weight" not in backbone:
        raise ValueError("the first convolution is missing.")
    last = "pointwise" if kind is MobileNetV1 else "projection"
    ends = {
        int(found[1]): int(tensor.shape[0])
        for name, tensor in backbone.items()
        if (found := re.fullmatch(rf"blocks\.(\d+)\.{last}\.0\.weight", name))
    }
    if not ends or sorted(ends) != list(range(len(ends))):
        raise ValueError(f"of its blocks only {sorted(ends)} are there.")
    stem, channels = int(backbone["stem.0.weight"].shape[0]), [ends[index] for index in range(len(ends))]
    head = int(backbone["last_conv.0.weight"].shape[0]) if "last_conv.0.weight" in backbone else None
    options: dict[str, Any] = {"width_mult": width_mult}
    if kind is MobileNetV1:
        if width_mult is None:
            options["width_mult"] = mobilenet_v1.width_of(stem, channels)
        wanted = _shapes_v1(mobilenet_v1.layout(**options, head_conv=head is not None))
        if head is not None:
            options["head_conv"] = True
    else:
        if width_mult is None:
            options = width_and_depth(stem, channels, head)
        wanted = _shapes_v2(**options)
    _check_shapes(backbone, wanted, f"{kind.__name__} of width_mult={float(options['width_mult'])}")
    return options


def _check_shapes(backbone: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]], called: str) -> None:
    kind = called.partition(" ")[0]
    has_last = any(name.startswith("last_conv.") for name in backbone)
    for name, shape in wanted.items():
        if name not in backbone and (has_last or not name.startswith("last_conv.")):
            raise ValueError(f"{name!r}, as it is called here, is missing: the file is not a whole {kind}.")
        if name in backbone and tuple(backbone[name].shape) != shape:
            raise ValueError(
                f"{name!r}, as it is called here, has shape {list(backbone[name].shape)}, but {list(shape)} in a "
                f"{called}."
            )
    strange = sorted(name for name in backbone.keys() - wanted.keys() if not name.endswith(".num_batches_tracked"))
    if strange:
        raise ValueError(f"{strange[0]!r}, as it would be called here, has no place in a {kind}.")


_Shapes = dict[str, tuple[int, ...]]


def _shapes_v2(**options: Any) -> _Shapes:  # noqa: ANN401 - the layout's
    plan = layout(**options)
    shapes = _layer("stem", 3, plan.stem_channels, 3)
    for index, row in enumerate(plan.blocks):
        inner = row.in_channels * row.expansion
        if row.expansion > 1:
            shapes |= _layer(f"blocks.{index}.expansion", row.in_channels, inner, 1)
        shapes |= _layer(f"blocks.{index}.depthwise", 1, inner, 3)
        shapes |= _layer(f"blocks.{index}.projection", inner, row.out_channels, 1)
    return shapes | _layer("last_conv", plan.blocks[-1].out_channels, plan.last_channels, 1)


def _shapes_v1(plan: mobilenet_v1.Layout) -> _Shapes:
    shapes = _layer("stem", 3, plan.stem_channels, 3)
    for index, row in enumerate(plan.blocks):
        shapes |= _layer(f"blocks.{index}.depthwise", 1, row.in_channels, 3)
        shapes |= _layer(f"blocks.{index}.pointwise", row.in_channels, row.out_channels, 1)
    head = plan.head_channels
    return shapes | (_layer("last_conv", plan.blocks[-1].out_channels, head, 1) if head else {})


def _layer(name: str, inputs: int, outputs: int, kernel: int) -> _Shapes:
    """A convolution and its batch norm."""
    norm = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.0.weight": (outputs, inputs, kernel, kernel)} | {f"{name}.1.{field}": (outputs,) for field in norm}
