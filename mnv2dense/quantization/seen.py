"""What goes through a model on calibration images: the ranges that its activations are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mnv2dense.quantization.int8 import Range, activation_power, int8_layers, shortcuts
from mnv2dense.quantization.ranges import best_power_range, best_range
from mnv2dense.quantization.targets import Target

# As onnxruntime's files count them.
_BINS = 2048


class SeenRanges(NamedTuple):
    """Of activations, by name of the layer.

    Attributes:
        inputs: of what goes in.
        outputs: of what comes out, where no activation follows; and of sums, by name of the module that ends in one.
    """

    inputs: dict[str, Range]
    outputs: dict[str, Range]


@torch.no_grad()
def seen_ranges(model: nn.Module, images: Sequence[Tensor], target: Target) -> SeenRanges:
    """The ranges of least squared error (:mod:`mnv2dense.quantization.ranges`), as files get them.

    Args:
        model: batch norms folded.
        images: uint8 [B, 3, H, W] each; run twice, for the ends and then for histograms between them.
        target: whose scales.
    """
    linear = set(int8_layers(model)) - followed_by_activation(model).keys()
    ends: dict[tuple[str, bool], Range] = {}
    counts: dict[tuple[str, bool], npt.NDArray[np.float64]] = {}

    def note(key: tuple[str, bool], x: Tensor) -> None:
        low, high = (float(end) for end in x.aminmax())
        before = ends.get(key, Range(0.0, 0.0))
        ends[key] = Range(min(low, before.low), max(high, before.high))

    def count(key: tuple[str, bool], x: Tensor) -> None:
        low, high = ends[key]
        if high > low:
            counts[key] = counts.get(key, np.zeros(_BINS)) + torch.histc(x, _BINS, low, high).double().numpy()

    for visit in (note, count):
        with watched(model, linear, visit, sums=shortcuts(model)):
            for image in images:
                model(image)
    found = {
        key: range_of_counts(counts[key], *bounds, target) if key in counts else bounds for key, bounds in ends.items()
    }
    return SeenRanges(
        {name: bounds for (name, comes_out), bounds in found.items() if not comes_out},
        {name: bounds for (name, comes_out), bounds in found.items() if comes_out},
    )


def followed_by_activation(model: nn.Module) -> dict[str, nn.Module]:
    """Layers that an activation follows inside their ``nn.Sequential``, where what follows what is certain."""
    found: dict[str, nn.Module] = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.Sequential):
            inside = [(name, child) for name, child in module.named_children() if not isinstance(child, nn.Identity)]
            for (name, layer), (_, after) in pairwise(inside):
                if isinstance(layer, nn.Conv2d | nn.Linear) and isinstance(after, nn.ReLU | nn.ReLU6):
                    found[f"{path}.{name}" if path else name] = after
    return found


@contextmanager
def watched(
    model: nn.Module,
    linear: set[str],
    visit: Callable[[tuple[str, bool], Tensor], None],
    *,
    sums: Iterable[str] = (),
) -> Iterator[None]:
    """Within, what goes into every layer, and what comes out of ``linear`` ones and of sums, is shown.

    Args:
        model: holds the layers.
        linear: names of layers.
        visit: takes (name, whether it comes out) and the values.
        sums: names of modules whose outputs are shown.
    """

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def show(_layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            visit((name, False), inputs[0])
            if name in linear:
                visit((name, True), output)

        return show

    def hook_sum(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _module, _inputs, output: visit((name, True), output)

    handles = [layer.register_forward_hook(hook(name)) for name, layer in int8_layers(model).items()]
    handles += [model.get_submodule(name).register_forward_hook(hook_sum(name)) for name in sums]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def channel_peaks(model: nn.Module, images: Sequence[Tensor]) -> dict[str, Tensor]:
    """The largest value that each output channel of each layer takes, before any activation: name -> [C]."""
    found: dict[str, Tensor] = {}

    def visit(key: tuple[str, bool], x: Tensor) -> None:
        name, comes_out = key
        if comes_out:
            peaks = x.transpose(0, 1).flatten(1).amax(1)
            found[name] = torch.maximum(found[name], peaks) if name in found else peaks

    with torch.no_grad(), watched(model, set(int8_layers(model)), visit):
        for image in images:
            model(image)
    return found


def range_of_counts(counts: npt.NDArray[np.float64], low: float, high: float, target: Target) -> Range:
    """The range of the values of a histogram.

    Args:
        counts: [N] of equal bins between ``low`` and ``high``.
        low: smallest value, 0 or less.
        high: largest value, 0 or more.
        target: whose scales.
    """
    if target.power_of_two:
        return Range(*best_power_range(counts, low, high, largest=activation_power(max(-low, high))))
    return Range(*best_range(counts, low, high))
