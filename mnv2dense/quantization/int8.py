"""int8 arithmetic played in float: what quantisation will cost, before there is a file and whatever runs it.

As the runtimes do it: weights symmetric, with a scale for each output channel or, on other devices
(:mod:`mnv2dense.quantization.targets`), for each tensor; activations with one for each tensor (Krishnamoorthi 2018,
sections 2 and 3). A layer is a convolution or a product with weights. What goes into it is quantised, and what comes
out where no activation follows: the ends of a shortcut are integers before they are added, and their sum is one again.
Decoding stays in float.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mnv2dense.quantization.targets import PER_CHANNEL, Target
from mnv2dense.utils.suggest import near

LAYERS = (nn.Conv2d, nn.Linear)
"""The modules that runtimes compute in int8."""

# -128 has no positive partner, so symmetric weights leave it out.
WEIGHT_LEVELS = 127
_ACTIVATION_LEVELS = 255


class Range(NamedTuple):
    """Of the values that go into a layer, or come out of it."""

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


def shortcuts(model: nn.Module) -> dict[str, str]:
    """Modules that add their input to what their last layer gives, with the name of that layer.

    They say so by an attribute ``shortcut``, as :class:`mnv2dense.backbones.blocks.InvertedResidual` does.
    """
    layers = list(int8_layers(model))
    found = {}
    for path, module in model.named_modules():
        inside = [name for name in layers if name.startswith(f"{path}.")]
        if getattr(module, "shortcut", False) is True and inside:
            found[path] = inside[-1]
    return found


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


def weight_scales(weight: Tensor, target: Target = PER_CHANNEL) -> Tensor:
    """[C], or [1] of the whole tensor: the real number that a step of int8 stands for; the largest weight is held.

    Args:
        weight: [C, ...].
        target: whose scales.
    """
    ends = weight.detach().flatten(1).abs().amax(1)
    if not target.per_channel:
        ends = ends.amax(0, keepdim=True)
    scales = ends.clamp(min=torch.finfo(torch.float32).tiny) / WEIGHT_LEVELS
    return _power_above(scales) if target.power_of_two else scales


def quantized_weight(weight: Tensor, target: Target = PER_CHANNEL) -> Tensor:
    """[C, ...] as int8 holds it: 255 levels around 0 for each scale. Gradients pass straight through."""
    scales = weight_scales(weight, target).expand(len(weight)).contiguous()
    zeros = torch.zeros_like(scales, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -WEIGHT_LEVELS, WEIGHT_LEVELS)


def quantized_activation(x: Tensor, bounds: Range, target: Target = PER_CHANNEL) -> Tensor:
    """Any shape, as int8 holds it, in float: 256 levels over the range, one of them 0; values beyond it saturate."""
    low, high = min(bounds.low, 0.0), max(bounds.high, 0.0)  # padding must be exact
    if target.power_of_two:
        scale = activation_power(max(-low, high))
        return torch.fake_quantize_per_tensor_affine(x, scale, 0, -WEIGHT_LEVELS - 1, WEIGHT_LEVELS)
    scale = max(high - low, 1e-12) / _ACTIVATION_LEVELS
    return torch.fake_quantize_per_tensor_affine(x, scale, round(-low / scale), 0, _ACTIVATION_LEVELS)


def activation_power(end: float) -> float:
    """The least power of two whose 127 steps hold an end of a range."""
    return float(_power_above(torch.tensor(max(end, 1e-12) / WEIGHT_LEVELS, dtype=torch.float64)))


@contextmanager
def simulated_int8(
    model: nn.Module,
    ranges: Mapping[str, Range],
    layers: Sequence[str] | None = None,
    *,
    outputs: Mapping[str, Range] | None = None,
    target: Target = PER_CHANNEL,
) -> Iterator[None]:
    """Within, layers of the model compute as if in int8; afterwards the model is as it was.

    Args:
        model: batch norms folded, or the weights' ranges are not those of the file.
        ranges: of what goes into layers: what :func:`input_ranges` gave, or
            :func:`mnv2dense.quantization.seen.seen_ranges`.
        layers: names; None takes all that have a range.
        outputs: of what comes out of layers and of shortcuts, which go with their last layer; those that are not named
            give floats.
        target: whose rounding.
    """
    every, outputs = int8_layers(model), outputs or {}
    names = list(ranges if layers is None else layers)
    chosen = [every[name] for name in names]

    def rounds(bounds: Range) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
        return lambda _layer, inputs: (quantized_activation(inputs[0], bounds, target), *inputs[1:])

    def rounds_after(bounds: Range) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        return lambda _layer, _inputs, output: quantized_activation(output, bounds, target)

    exact = [layer.weight.data for layer in chosen]
    handles = [every[name].register_forward_pre_hook(rounds(ranges[name])) for name in names]
    ends = [name for name in names if name in outputs]
    ends += [name for name, last in shortcuts(model).items() if name in outputs and last in names]
    handles += [model.get_submodule(name).register_forward_hook(rounds_after(outputs[name])) for name in ends]
    try:
        for layer in chosen:
            layer.weight.data = quantized_weight(layer.weight.data, target)
        yield
    finally:
        for handle in handles:
            handle.remove()
        for layer, weight in zip(chosen, exact, strict=True):
            layer.weight.data = weight


def _power_above(x: Tensor) -> Tensor:
    """The least power of two that is not below x > 0, exactly."""
    mantissa, exponent = torch.frexp(x)  # x = mantissa * 2**exponent, 0.5 <= mantissa < 1
    return torch.ldexp(torch.ones_like(x), torch.where(mantissa == 0.5, exponent - 1, exponent))
