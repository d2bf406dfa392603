"""What goes wrong between a model and its file or app, as a change to the model or to what goes into it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnv2dense.export.calibration import Pixels, model_inputs
from mnv2dense.export.graph import ExportGraph
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.ops.resize import RESIZE_MODES
from mnv2dense.quantization.int8 import int8_layers

_MODE_NAMES = {"squash": "squashed", "letterbox": "letterboxed", "crop": "cropped"}

Prepare = Callable[[Pixels], Tensor]
"""uint8 [H, W, 3] -> uint8 [1, 3, H, W] of the model's size."""


class Fault(NamedTuple):
    """One fault.

    Attributes:
        prepare: brings a picture to the input.
        graph: answers.
    """

    prepare: Prepare
    graph: ExportGraph


def faults(graph: ExportGraph) -> dict[str, Fault]:
    """Name -> the same model with that fault; the names stand in files.

    Args:
        graph: what was exported; is not changed.
    """
    mode = graph.model.resize

    def prepared(pixels: Pixels) -> Tensor:
        return model_inputs([pixels], graph.size, mode)[0]

    inputs: dict[str, Prepare] = {
        "channels swapped": lambda pixels: prepared(pixels).flip(1),
        "channels last": lambda pixels: _as_channels_last(prepared(pixels)),
        "pixels of 0..1": lambda pixels: (prepared(pixels) / 255).round().to(torch.uint8),
        "nearest pixels": lambda pixels: _squashed(pixels, graph.size, mode="nearest"),
        "corners aligned": lambda pixels: _squashed(pixels, graph.size, mode="bilinear", align_corners=True),
    }
    if mode != "squash":  # these two are of an image that fills the input
        del inputs["nearest pixels"], inputs["corners aligned"]
    for other in RESIZE_MODES:
        if other != mode:
            inputs[_MODE_NAMES[other]] = lambda pixels, other=other: model_inputs([pixels], graph.size, other)[0]  # type: ignore[misc]
    made = {name: Fault(prepare, graph) for name, prepare in inputs.items()}
    changes = {
        "not normalised": lambda model: _normalise(model, scale=1.0),
        "normalised to 0..1 alone": lambda model: _normalise(model, scale=1 / 255),
        "one scale per tensor": _round_weights,
        "other padding": _pad_otherwise,
    }
    for name, change in changes.items():
        faulty = copy.deepcopy(graph)
        change(faulty.model)
        made[name] = Fault(prepared, faulty.eval())
    return made


def _as_channels_last(image: Tensor) -> Tensor:
    """The bytes of [H, W, 3] taken for [3, H, W]."""
    return image.permute(0, 2, 3, 1).reshape(image.shape)


def _squashed(pixels: Pixels, size: tuple[int, int], **how: object) -> Tensor:
    """Resized by another rule than ours."""
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    return F.interpolate(image, size, **how).round().to(torch.uint8)  # type: ignore[arg-type]


def _normalise(model: DenseModel, *, scale: float) -> None:
    model.normalize.scale.fill_(scale)
    model.normalize.shift.zero_()


def _round_weights(model: DenseModel) -> None:
    """int8 with one scale for all channels of a layer: depthwise channels of small weights become zero."""
    for layer in int8_layers(model).values():
        step = layer.weight.detach().abs().max().clamp(min=torch.finfo(torch.float32).tiny) / 127
        layer.weight.data = (layer.weight.detach() / step).round() * step


def _pad_otherwise(model: DenseModel) -> None:
    """torch's padding of strided convolutions where TensorFlow's belongs, and the other way round."""
    for module in list(model.modules()):
        for name, child in list(module._modules.items()):
            if isinstance(child, nn.Conv2d) and child.stride == (2, 2) and child.kernel_size == (3, 3):
                module._modules[name] = _OtherPadding(child)


class _OtherPadding(nn.Module):
    """A 3x3 convolution of stride 2, padded in the other of :data:`mnv2dense.backbones.blocks.Padding`'s two ways."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self._is_tf = conv.padding == (0, 0)
        self.conv = copy.copy(conv)
        self.conv.padding = (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H / 2, W / 2]."""
        top, left = (1, 1) if self._is_tf else (x.shape[-2] % 2, x.shape[-1] % 2)
        return self.conv._conv_forward(F.pad(x, (left, 1, top, 1)), self.conv.weight, self.conv.bias)
