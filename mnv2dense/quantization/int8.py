"""int8 arithmetic played in float: what quantisation will cost, before there is a file and whatever runs it.

As the runtimes do it: weights symmetric with one scale for each output channel, activations asymmetric with one scale
for each tensor (Krishnamoorthi 2018, sections 2 and 3). A layer is a convolution or a product with weights; what goes
into it is quantised, so that a sum of a shortcut is where the next layer reads it. Decoding stays in float.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mnv2dense.utils.suggest import near

LAYERS = (nn.Conv2d, nn.Linear)
"""The modules that runtimes compute in int8."""

# -128 has no positive partner, so symmetric weights leave it out.
_WEIGHT_LEVELS = 127
_ACTIVATION_LEVELS = 255


class Range(NamedTuple):
    """Of the values that go into a layer."""

    low: float
    high: float


def int8_layers(model: nn.Module, keep_float: Sequence[str] = ()) -> dict[str, nn.Conv2d | nn.Linear]:
    """Name -> layer, in the order of ``named_modules()``.

    Args:
        model: any.
        keep_float: names of modules that are left out, with all that is inside them.
    """
    kept = tuple(f"{name}." for name in keep_float)
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, LAYERS) and not f"{name}.".startswith(kept)
    }


def check_names(model: nn.Module, keep_float: Sequence[str]) -> None:
    """Whether a model has the modules that shall stay in float.

    Raises:
        ValueError: it lacks one; the message names those near to it.
    """
    known = [name for name, _ in model.named_modules() if name]
    for name in keep_float:
        if name not in known:
            close = near(name, known, count=3, cutoff=0.4)
            meant = f"did you mean {' or '.join(close)}?" if close else "see model.named_modules()."
            raise ValueError(f"keep_float={name}: the model has no such module; {meant}")


@torch.no_grad()
def input_ranges(model: nn.Module, run: Callable[[Tensor], object], images: Iterable[Tensor]) -> dict[str, Range]:
    """What goes into each layer over all images; layers that do not run are left out.

    Args:
        model: holds the layers.
        run: runs the model on an image.
        images: uint8 [B, 3, H, W] each.
    """
    found: dict[str, Range] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            low, high = (float(end) for end in inputs[0].aminmax())
            before = found.get(name, Range(low, high))
            found[name] = Range(min(low, before.low), max(high, before.high))

        return hook

    handles = [layer.register_forward_pre_hook(note(name)) for name, layer in int8_layers(model).items()]
    try:
        for image in images:
            run(image)
    finally:
        for handle in handles:
            handle.remove()
    return found


def quantized_weight(weight: Tensor) -> Tensor:
    """[C, ...] as int8 holds it: 255 levels around 0 for each output channel. Gradients pass straight through."""
    scale = weight.detach().flatten(1).abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / _WEIGHT_LEVELS
    zeros = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -_WEIGHT_LEVELS, _WEIGHT_LEVELS)


def quantized_activation(x: Tensor, bounds: Range) -> Tensor:
    """Any shape, as int8 holds it, in float: 256 levels over the range, one of them 0; values beyond it saturate."""
    low, high = min(bounds.low, 0.0), max(bounds.high, 0.0)  # padding must be exact
    scale = max(high - low, 1e-12) / _ACTIVATION_LEVELS
    return torch.fake_quantize_per_tensor_affine(x, scale, round(-low / scale), 0, _ACTIVATION_LEVELS)


@contextmanager
def simulated_int8(
    model: nn.Module, ranges: Mapping[str, Range], layers: Sequence[str] | None = None
) -> Iterator[None]:
    """Within, layers of the model compute as if in int8; afterwards the model is as it was.

    Args:
        model: batch norms folded, or the weights' ranges are not those of the file.
        ranges: what :func:`input_ranges` gave.
        layers: names; None takes all that have a range.
    """
    every = int8_layers(model)
    chosen = [(every[name], ranges[name]) for name in (ranges if layers is None else layers)]

    def rounds(bounds: Range) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
        return lambda _layer, inputs: (quantized_activation(inputs[0], bounds), *inputs[1:])

    exact = [layer.weight.data for layer, _ in chosen]
    handles = [layer.register_forward_pre_hook(rounds(bounds)) for layer, bounds in chosen]
    try:
        for layer, _ in chosen:
            layer.weight.data = quantized_weight(layer.weight.data)
        yield
    finally:
        for handle in handles:
            handle.remove()
        for (layer, _), weight in zip(chosen, exact, strict=True):
            layer.weight.data = weight
