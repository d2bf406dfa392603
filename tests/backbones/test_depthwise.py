"""Quick gradients of depthwise convolutions: equal to torch's own, and in use where they shall be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mnv2dense.backbones import depthwise
from mnv2dense.backbones.depthwise import DepthwiseConv2d


SHAPES = [(kernel, stride, 1, padding) for kernel in (3, 5) for stride in (2, 3) for padding in range(kernel // 2 + 1)]
SHAPES += [(3, 1, dilation, dilation) for dilation in (2, 4)] + [(5, 1, 2, 3), (3, 1, 2, 0)]


def gradients(conv: nn.Conv2d, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The output, and what input and weight learn from a gradient that is the same for all."""
    x = x.clone().requires_grad_()
    output = conv(x)
    torch.manual_seed(1)
    of_x, of_weight = torch.autograd.grad(output, (x, conv.weight), torch.randn(output.shape).to(output.dtype))
    return output, of_x, of_weight


@pytest.mark.parametrize("size", [(13, 18), (16, 15), (9, 9)])
@pytest.mark.parametrize(("kernel", "stride", "dilation", "padding"), SHAPES)
def test_gradients_are_torchs_own(
    kernel: int, stride: int, dilation: int, padding: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    conv = DepthwiseConv2d(6, 6, kernel, stride, padding, dilation, groups=6, bias=False).double()
    x = torch.randn(2, 6, *size, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    expected = gradients(conv, x)
    # In float64, where rounding hides nothing.
    monkeypatch.setattr(depthwise, "_in_bfloat16", lambda x: True)
    monkeypatch.setattr(depthwise, "_depthwise", lambda x, weight, bias, *layout: _applied(x, weight, *layout))
    for found, right in zip(gradients(conv, x), expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-10, atol=1e-10)
