"""What goes wrong between a model and its file or app, as a change to the model or to what goes into it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnv2dense.export.calibration import Pixels
from mnv2dense.export.graph import ExportGraph
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.quantization.int8 import int8_layers
from mnv2dense.runtimes.exam_inputs import rightly, wrongly

ROUNDED: Final = "one scale per tensor"
"""The fault of rounding weights, which files for some devices have rightly (docs/npu.md)."""


class Fault(NamedTuple):
    """One fault.

    Attributes:
        prepare: brings a picture, uint8 [H, W, 3], to the input, uint8 [1, 3, H, W].
        graph: answers.
    """

    prepare: Callable[[Pixels], Tensor]
    graph: ExportGraph


def faults(graph: ExportGraph) -> dict[str, Fault]:
    """Name -> the same model with that fault; the names stand in files.

    Args:
        graph: what was exported; is not changed.
    """
    size, mode = graph.size, graph.model.resize
    made = {name: Fault(prepare, graph) for name, prepare in wrongly(size, mode).items()}
    for name, change in CHANGES.items():
        faulty = copy.deepcopy(graph)
        change(faulty.model)
        made[name] = Fault(partial(rightly, size=size, mode=mode), faulty.eval())
    return made


def _not_normalised(model: DenseModel, *, scale: float = 1.0) -> None:
    model.normalize.scale.fill_(scale)
    model.normalize.shift.zero_()


def _round_weights(model: DenseModel) -> None:
    """int8 with one scale for all channels of a layer: depthwise channels of small weights become zero."""
    for layer in int8_layers(model).values():
        step = layer.weight.detach().abs().max().clamp(min=torch.finfo(torch.float32).tiny) / 127
        layer.weight.data = (layer.weight.detach() / step).round() * step


def _pad_otherwise(model: DenseModel) -> None:
    """Torch's padding of strided convolutions where TensorFlow's belongs, and the other way round."""
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
        found: Tensor = self.conv._conv_forward(F.pad(x, (left, 1, top, 1)), self.conv.weight, self.conv.bias)
        return found


CHANGES: dict[str, Callable[[DenseModel], None]] = {
    "not normalised": _not_normalised,
    "normalised to 0..1 alone": partial(_not_normalised, scale=1 / 255),
    ROUNDED: _round_weights,
    "other padding": _pad_otherwise,
}
"""Fault -> what it makes of a model, in place; batch norms are folded."""
