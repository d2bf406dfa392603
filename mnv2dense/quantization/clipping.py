"""Weights cut off where that costs less than the steps it saves: a few wild channels else take a tensor's scale.

Cut are the weights of a layer, at the share of its largest weight that gives its outputs the least squared error on
calibration images, after its activation: what a ReLU6 cuts off anyway is no error. Biases take back the shift of each
channel's mean. The ranges of activations are chosen likewise (:mod:`mnv2dense.quantization.ranges`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mnv2dense.quantization.int8 import WEIGHT_LEVELS, int8_layers, quantized_weight, weight_scales
from mnv2dense.quantization.seen import followed_by_activation
from mnv2dense.quantization.targets import Target

# Ever smaller ones are tried until this many in a row have been worse than the best.
_PATIENCE = 3
_SMALLEST = 1 / 128


@torch.no_grad()
def clip(
    model: nn.Module, images: Sequence[Tensor], target: Target, keep_float: Sequence[str] = ()
) -> dict[str, float]:
    """Cut off the weights of every layer, in place.

    Args:
        model: batch norms folded.
        images: uint8 [1, 3, H, W] each; a handful, as all go through at once.
        target: with one scale for each weight tensor.
        keep_float: names of modules that stay as they are.

    Returns:
        Of the layers whose weights were cut, what share of their largest weight is left.
    """
    activations = followed_by_activation(model)
    cuts: dict[str, _Cut] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def look(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            if name not in cuts:  # of a layer that several levels share, by the first
                cuts[name] = _best_cut(layer, inputs[0], output, activations.get(name, nn.Identity()), target)

        return look

    layers = int8_layers(model, keep_float)
    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        model(torch.cat(list(images)))
    finally:
        for handle in handles:
            handle.remove()
    cuts = {name: cut for name, cut in cuts.items() if cut.share < 1}
    for name, cut in cuts.items():
        layer = layers[name]
        end = cut.share * layer.weight.abs().max()
        layer.weight.clamp_(-end, end)
        bias = torch.zeros(len(cut.shift)) if layer.bias is None else layer.bias
        layer.bias = nn.Parameter(bias - cut.shift, requires_grad=False)
    return {name: cut.share for name, cut in cuts.items()}


class _Cut(NamedTuple):
    """The share of the largest weight that is left, and what that alone adds to the mean of each output channel."""

    share: float
    shift: Tensor


def _best_cut(layer: nn.Conv2d | nn.Linear, x: Tensor, output: Tensor, activation: nn.Module, target: Target) -> _Cut:
    exact = layer.weight.data
    end = float(exact.abs().max())
    wanted, means = activation(output.clone()), _channel_means(output)  # ReLU6 works in place

    def outputs(weight: Tensor) -> Tensor:
        layer.weight.data = weight
        found: Tensor = layer.forward(x)  # without its hooks
        layer.weight.data = exact
        return found

    def error(share: float) -> float:
        rounded = outputs(quantized_weight(exact.clamp(-share * end, share * end), target))
        shift = _channel_means(rounded) - means
        return float((activation(rounded - _as_channels(shift, rounded)) - wanted).square().sum())

    best, least, tried_in_vain = 1.0, error(1.0), 0
    for share in _shares(exact, end, target):
        now = error(share)
        tried_in_vain = 0 if now < least else tried_in_vain + (now > least)
        if now < least:
            best, least = share, now
        if tried_in_vain == _PATIENCE:
            break
    return _Cut(best, _channel_means(outputs(exact.clamp(-best * end, best * end))) - means)


def _shares(weight: Tensor, end: float, target: Target) -> Iterator[float]:
    """Ever smaller ones; of powers of two those whose ends are 127 steps."""
    share, factor = 1.0, 0.5**0.5
    if target.power_of_two and end > 0:
        share, factor = float(weight_scales(weight, target)) * WEIGHT_LEVELS / end, 0.5
    while (share := share * factor) >= _SMALLEST:
        yield share


def _channel_means(x: Tensor) -> Tensor:
    """[B, C, ...] -> [C]."""
    return x.transpose(0, 1).flatten(1).mean(1)


def _as_channels(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (x.ndim - 2))
