"""Biases that take back what rounding weights to int8 does to the mean of each channel.

Rounding moves the mean of a layer's output, and the narrow layers of MobileNetV2 do not average that out. The shift
follows from the mean of the inputs, which calibration images show (Nagel et al. 2019, "Data-Free Quantization Through
Weight Equalization and Bias Correction", arXiv 1906.04721, section 4.2).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from mnv2dense.quantization.int8 import int8_layers, quantized_weight
from mnv2dense.quantization.targets import PER_CHANNEL, Target


class HasModel(Protocol):
    """A module that wraps the model whose layers are meant."""

    @property
    def model(self) -> nn.Module:
        """The model; names of layers begin in it."""
        ...

    def __call__(self, images: Tensor) -> object:
        """uint8 [1, 3, H, W] through the model."""
        ...


Graph = TypeVar("Graph", bound=HasModel)

# The scale of a bias is its channel's weights' times the input's. Where weights are next to nothing beside the others
# of their layer, it would be too fine for the bias to fit in int32.
_SMALLEST_ROW = 1e-3


@torch.no_grad()
def bias_corrected(
    graph: Graph, calibration: Sequence[Tensor], keep_float: Sequence[str] = (), *, target: Target = PER_CHANNEL
) -> Graph:
    """A copy for an int8 file whose weights are symmetric, their largest held by 127 steps.

    Args:
        graph: with batch norms folded.
        calibration: uint8 [1, 3, H, W] each.
        keep_float: names of modules of the model whose weights are not rounded.
        target: whose rounding.
    """
    graph = copy.deepcopy(graph)
    layers = int8_layers(graph.model, keep_float)
    means = _input_means(graph, layers, calibration)
    for name, layer in layers.items():
        _correct(layer, means[name], target)
    return graph


def _input_means(graph: HasModel, layers: Mapping[str, nn.Module], calibration: Sequence[Tensor]) -> dict[str, Tensor]:
    """Of each layer's inputs [1, C, ...], the mean of every channel over the images."""
    sums = {name: torch.zeros(()) for name in layers}
    runs = dict.fromkeys(layers, 0)  # more than one of an image where it comes in strips

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
        def add(_: nn.Module, inputs: tuple[Tensor]) -> None:
            (x,) = inputs
            sums[name] = sums[name] + x.reshape(x.shape[1], -1).mean(dim=1)
            runs[name] += 1

        return add

    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    try:
        for image in calibration:
            graph(image)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: sums[name] / max(1, runs[name]) for name in layers}


def _correct(layer: nn.Conv2d | nn.Linear, means: Tensor, target: Target) -> None:
    """In place."""
    weight = layer.weight.clone()
    if target.per_channel:
        rows = weight.flatten(1)
        largest = rows.abs().amax(dim=1)
        smallest = _SMALLEST_ROW * float(largest.max())
        rows[largest < smallest, 0] = smallest
    shift = quantized_weight(weight, target) - layer.weight
    shift = shift.flatten(1).view(len(weight), weight.shape[1], -1).sum(dim=2)
    if isinstance(layer, nn.Conv2d):  # each output sees the inputs of its group alone
        means = means.view(layer.groups, -1).repeat_interleave(len(weight) // layer.groups, dim=0)
    layer.weight.copy_(weight)
    bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias
    layer.bias = nn.Parameter(bias - (shift * means).sum(dim=1), requires_grad=False)
