"""Depthwise convolutions that learn in time on CPUs, where torch's own gradients of strides and dilations take longest.

oneDNN has quick kernels for depthwise gradients in bfloat16 for 3x3 at stride 1 without dilation; of all others it
runs a reference, one product after another: two fifths of a whole training step of SSDLite. These gradients can be had
from convolutions that it is quick at.
"""

# Annotations stay what they are, no words: TorchScript reads those of what it leaves alone, too.
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.jit import is_scripting, is_tracing  # type: ignore[attr-defined]  # torch does not say that it gives them

# The dilations of a backbone at strides 8 and 16; a larger one would fall apart into too many small pieces.
_DILATIONS = {1, 2, 4}

# The side up to which weights are learnt quickly in bfloat16; those of a larger kernel are learnt in float32.
_QUICK_KERNEL = 3


class DepthwiseConv2d(nn.Conv2d):
    """``torch.nn.Conv2d``, whose gradients come sooner where it is depthwise, on CPU in bfloat16.

    Everywhere else, in what is compiled, traced, scripted or exported and under torch.func too, it is that very
    convolution. Gradients differ from torch's by the rounding of bfloat16 alone; those of forward mode
    (``torch.autograd.forward_ad``) are missing.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not is_scripting() and self._learns_slowly(input, weight):
            return self._with_quick_gradients(input, weight, bias)
        if self.padding_mode != "zeros":  # as torch has it: TorchScript has no super() to ask
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            return F.conv2d(input, weight, bias, self.stride, (0, 0), self.dilation, self.groups)
        return F.conv2d(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    @torch.jit.unused
    def _with_quick_gradients(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        given = [None if each is None else each.to(torch.bfloat16) for each in (x, weight, bias)]
        filtered: Tensor = _Depthwise.apply(*given, self.stride, self.padding, self.dilation)
        return filtered

    @torch.jit.unused
    def _learns_slowly(self, x: Tensor, weight: Tensor) -> bool:
        """Whether torch's own gradients would be those of the reference."""
        strided, dilated = max(self.stride) > 1, max(self.dilation) > 1
        return (
            torch.is_grad_enabled()
            and isinstance(x, Tensor)  # torch.fx hands in what stands for one
            and not torch.compiler.is_compiling()
            and not is_tracing()  # type: ignore[no-untyped-call]  # untyped in torch
            and not torch._C._are_functorch_transforms_active()
            and x.device.type == "cpu"
            and x.dim() == 4
            and (strided != dilated or (not strided and max(self.kernel_size) > _QUICK_KERNEL))
            and self.groups == self.in_channels == self.out_channels
            and self.padding_mode == "zeros"
            and self._pads_no_further_than_it_reaches()
            and set(self.dilation) <= _DILATIONS
            and _computed_in(x) == _computed_in(weight) == torch.bfloat16
        )

    @torch.jit.unused
    def _pads_no_further_than_it_reaches(self) -> bool:
        """Whether every pixel of the output sees one of the input; else the turned kernel would pad by less than 0."""
        if isinstance(self.padding, str):
            return False
        sides = zip(self.padding, self.dilation, self.kernel_size, strict=True)
        return all(padding <= dilation * (kernel - 1) for padding, dilation, kernel in sides)


def _computed_in(x: Tensor) -> torch.dtype:
    """The type that a convolution computes ``x`` in; autocast leaves whole numbers and float64 alone."""
    autocast = torch.is_autocast_enabled("cpu") and x.is_floating_point() and x.dtype != torch.float64
    return torch.get_autocast_dtype("cpu") if autocast else x.dtype


_Sides = tuple[int, int]


class _Depthwise(torch.autograd.Function):
    """[N, C, H, W], [C, 1, k, l] and [C] of one type -> [N, C, H', W']."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - as torch has it
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: _Sides,
        padding: _Sides,
        dilation: _Sides,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.layout = (stride, padding, dilation)
        return F.conv2d(x, weight, bias, stride, padding, dilation, x.shape[1])

    # Of operations that have gradients themselves, so that it may be differentiated once more.
    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - as torch has it
        x, weight = ctx.saved_tensors
        of_x = _of_input(gradient, x, weight, *ctx.layout) if ctx.needs_input_grad[0] else None
        of_weight = _of_weight(gradient, x, weight, *ctx.layout) if ctx.needs_input_grad[1] else None
        of_bias = gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        return of_x, of_weight, of_bias, None, None, None


def _of_input(gradient: Tensor, x: Tensor, weight: Tensor, stride: _Sides, padding: _Sides, dilation: _Sides) -> Tensor:
    """The gradient set out as far apart as the strides were, filtered by the turned kernel."""
    down, right = (apart * (side - 1) for apart, side in zip(dilation, weight.shape[-2:], strict=True))
    if max(stride) > 1:
        height, width = x.shape[-2] + 2 * padding[0] - down, x.shape[-1] + 2 * padding[1] - right
        shape = (*gradient.shape[:2], height, width)
        apart = torch.empty(shape, dtype=gradient.dtype, memory_format=torch.channels_last).zero_()
        apart[..., :: stride[0], :: stride[1]] = gradient
        gradient = apart
    return F.conv2d(gradient, weight.flip(2, 3), None, 1, (down - padding[0], right - padding[1]), dilation, x.shape[1])


def _of_weight(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: _Sides, padding: _Sides, dilation: _Sides
) -> Tensor:
    """Torch's own, of what a dilated kernel sees: every so many pixels are an image by themselves."""
    dtype = weight.dtype
    if max(dilation) > 1:
        x, gradient = _taken_apart(x, gradient, padding, dilation)
        padding = (0, 0)
    if max(weight.shape[-2:]) > _QUICK_KERNEL:
        wider = torch.promote_types(weight.dtype, torch.float32)
        gradient, x, weight = gradient.to(wider), x.to(wider), weight.to(wider)
    wanted = [False, True, False]
    found: Tensor = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, (1, 1), False, (0, 0), x.shape[1], wanted
    )[1]
    return found.to(dtype)


def _taken_apart(x: Tensor, gradient: Tensor, padding: _Sides, dilation: _Sides) -> tuple[Tensor, Tensor]:
    """The input, with its padding, and the gradient as batches of dilation[0] * dilation[1] times as many images."""
    down, right = dilation
    # With zeros at the ends, until the parts are of one size.
    bottom, end = -(x.shape[-2] + 2 * padding[0]) % down, -(x.shape[-1] + 2 * padding[1]) % right
    x = F.pad(x, (padding[1], padding[1] + end, padding[0], padding[0] + bottom))
    gradient = F.pad(gradient, (0, end, 0, bottom))
    parts = [(slice(row, None, down), slice(column, None, right)) for row in range(down) for column in range(right)]
    return torch.cat([x[..., *part] for part in parts]), torch.cat([gradient[..., *part] for part in parts])
