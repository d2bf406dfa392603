"""Weights of equal range in every channel, and the same answers: what makes one scale do for a whole tensor.

Where a layer reads another's channels and nothing stands between them but what scales with its input, a channel may be
divided by a factor before and multiplied by it behind (Nagel et al. 2019, "Data-Free Quantization Through Weight
Equalization and Bias Correction", arXiv 1906.04721, section 4.1).

ReLU does scale, ReLU6 does not: it would clip elsewhere. The paper puts ReLU in its place. Models that were trained
with ReLU6 can rest on it: of TensorFlow's MobileNetV2 a fifth of the channels reach 6 on photos, and with ReLU most
answers are others, before anything is rounded. So here ReLU6 stays. A channel that is clipped keeps its scale; one that
stays below 6 may have any by which it still does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mnv2dense.quantization.int8 import int8_layers
from mnv2dense.quantization.linked_layers import Link, input_channel_ends, output_channel_ends

# Of ReLU6.
_BOUND = 6.0

_MOST_ROUNDS = 40

# Factors of a last round, from 1: far below the steps of int8.
_SETTLED = 1e-3


@torch.no_grad()
def equalize(model: nn.Module, chain: Sequence[Link], peaks: Mapping[str, Tensor]) -> None:
    """Even out the ranges of channels, in place; every link again and again, until none changes.

    The answers stay the same but for float32's own rounding, on all images where no channel of a clamped link that
    stayed below 6 goes beyond its peak.

    Args:
        model: batch norms folded.
        chain: what :func:`mnv2dense.quantization.linked_layers.links` found in it.
        peaks: of the layers before clamped links, [C]: the largest value of each output channel before its ReLU6, over
            calibration images.
    """
    layers = int8_layers(model)
    total = {link: torch.ones(len(layers[link.before].weight)) for link in chain}
    for _ in range(_MOST_ROUNDS):
        largest = 0.0
        for link in chain:
            before, after = layers[link.before], layers[link.after]
            wanted = total[link] * _factors(link, before, after, peaks)
            if link.clamped:
                wanted = torch.maximum(wanted, peaks[link.before] / _BOUND)  # what it is divided by
                wanted[_clipped(link, peaks)] = 1.0
            factors = wanted / total[link]
            total[link] = wanted
            _scale(before, after, factors)
            largest = max(largest, float(factors.log().abs().max()))
        if largest < _SETTLED:
            return


def _factors(link: Link, before: nn.Module, after: nn.Module, peaks: Mapping[str, Tensor]) -> Tensor:
    """What makes both ranges of each channel equal; beside fixed channels, equal as shares of theirs."""
    first, second = output_channel_ends(before), input_channel_ends(after)
    assert second is not None
    fixed = _clipped(link, peaks) if link.clamped else torch.zeros(len(first), dtype=torch.bool)
    fixed &= (first > 0) & (second > 0)
    share = first[fixed].max() / second[fixed].max() if fixed.any() else torch.ones(())
    factors = (first / second / share).sqrt()
    # A channel of no weights has no range.
    return torch.where((first > 0) & (second > 0), factors, torch.ones(())).clamp(1e-4, 1e4)


def _clipped(link: Link, peaks: Mapping[str, Tensor]) -> Tensor:
    return peaks[link.before] >= _BOUND


def _scale(before: nn.Conv2d | nn.Linear, after: nn.Conv2d | nn.Linear, factors: Tensor) -> None:
    """Divide channels by their factors where they come out, and multiply them where they go in."""
    before.weight /= factors.view(-1, *[1] * (before.weight.ndim - 1))
    if before.bias is not None:
        before.bias /= factors
    is_depthwise = isinstance(after, nn.Conv2d) and after.groups > 1
    after.weight *= factors.view(*((-1, 1) if is_depthwise else (1, -1)), *[1] * (after.weight.ndim - 2))
