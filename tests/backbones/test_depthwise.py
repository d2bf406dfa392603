"""Quick gradients of depthwise convolutions: equal to torch's own, and in use where they shall be and nowhere else."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from mnv2dense.backbones import depthwise
from mnv2dense.backbones.depthwise import DepthwiseConv2d
from mnv2dense.models.architectures import (
    deeplabv3_mobilenet_v2,
    points320_mobilenet_v2,
    ssdlite320_mobilenet_v2,
)

# Kernel, stride, dilation, padding: each from none to as far as the kernel reaches.
LAYOUTS = [
    ((rows, columns), stride, dilation, padding)
    for rows, columns in ((3, 3), (5, 3))
    for stride, dilation in ((1, 1), (2, 1), (3, 1), (1, 2), (1, 4))
    for padding in range(dilation * 2 + 1)
]


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shapes of the inputs whose gradients were quick ones."""
    shapes: list[torch.Size] = []
    own: Callable[..., Tensor] = depthwise._of_weight

    def noted(gradient: Tensor, x: Tensor, *rest: object) -> Tensor:
        shapes.append(x.shape)
        return own(gradient, x, *rest)

    monkeypatch.setattr(depthwise, "_of_weight", noted)
    return shapes


@pytest.mark.parametrize("size", [(17, 18), (24, 25)])
@pytest.mark.parametrize(("kernel", "stride", "dilation", "padding"), LAYOUTS)
def test_gradients_are_torchs_own(
    kernel: tuple[int, int], stride: int, dilation: int, padding: int, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6, *size, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(6, 1, *kernel, dtype=torch.float64, requires_grad=True)
    wanted = F.conv2d(x, weight, None, stride, padding, dilation, 6)
    found = depthwise._Depthwise.apply(x, weight, None, (stride, stride), (padding, padding), (dilation, dilation))
    assert torch.equal(found, wanted)
    gradient = torch.randn_like(wanted)
    for ours, torchs in zip(
        torch.autograd.grad(found, (x, weight), gradient),
        torch.autograd.grad(wanted, (x, weight), gradient),
        strict=True,
    ):
        torch.testing.assert_close(ours, torchs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "conv",
    [
        DepthwiseConv2d(8, 8, 3, stride=2, padding=1, groups=8),
        DepthwiseConv2d(8, 8, 3, dilation=2, padding=2, groups=8),
        DepthwiseConv2d(8, 8, 5, padding=2, groups=8),
    ],
    ids=["strided", "dilated", "large"],
)
def test_in_bfloat16_they_are_nearer_to_the_truth_than_its_rounding(
    conv: DepthwiseConv2d, used: list[torch.Size]
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 8, 20, 20).contiguous(memory_format=torch.channels_last).requires_grad_()
    wanted = conv(x)
    gradient = torch.randn_like(wanted)
    truth = torch.autograd.grad(wanted, (x, *conv.parameters()), gradient)
    assert not used
    with torch.autocast("cpu", torch.bfloat16):
        found = conv(x)
    assert found.dtype == torch.bfloat16
    for ours, right in zip(torch.autograd.grad(found, (x, *conv.parameters()), gradient), truth, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - right).norm() < 2**-7 * right.norm()
    assert used == [x.shape]


@pytest.mark.parametrize(
    "make", [ssdlite320_mobilenet_v2, points320_mobilenet_v2, deeplabv3_mobilenet_v2], ids=["ssd", "points", "deeplab"]
)
def test_every_slow_one_of_our_models_has_them(make: Callable[..., nn.Module], used: list[torch.Size]) -> None:
    torch.manual_seed(0)
    model = make(3, size=(96, 96)).train()
    slow: list[nn.Module] = []
    for each in model.modules():
        if (
            isinstance(each, nn.Conv2d)
            and each.groups > 1
            and (each.stride[0] > 1 or each.dilation[0] in (2, 4) or each.kernel_size[0] > 3)
        ):
            each.register_forward_hook(lambda module, given, output: slow.append(module))
    with torch.autocast("cpu", torch.bfloat16):
        raw = model(torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8))
    scores = [leaf.float().sum() for leaf in tree_leaves(raw) if isinstance(leaf, Tensor) and leaf.requires_grad]
    torch.autograd.backward(torch.stack(scores).sum())
    assert len(slow) >= 3
    assert len(used) == len(slow)


def test_elsewhere_it_is_the_very_convolution(used: list[torch.Size]) -> None:
    def learn(conv: nn.Module, x: Tensor) -> None:
        conv(x.requires_grad_()).float().sum().backward()

    images = torch.randn(1, 4, 9, 9)
    learn(DepthwiseConv2d(4, 4, 3, 2, groups=4), images.clone())  # float32
    learn(DepthwiseConv2d(4, 4, 3, 1, groups=4).bfloat16(), images.bfloat16())  # torch is quick at that
    learn(DepthwiseConv2d(4, 8, 3, 2, groups=2).bfloat16(), images.bfloat16())  # not depthwise
    learn(DepthwiseConv2d(4, 4, 3, 2, dilation=2, groups=4).bfloat16(), images.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        learn(DepthwiseConv2d(4, 4, 3, 2, groups=4).double(), images.double())
    assert not used
    conv = DepthwiseConv2d(4, 4, 3, 2, groups=4).bfloat16()
    with torch.no_grad():
        assert conv(images.bfloat16()).grad_fn is None
    learn(conv, images.bfloat16())
    assert len(used) == 1


def test_a_bias_learns_too() -> None:
    torch.manual_seed(0)
    conv = DepthwiseConv2d(4, 4, 3, 2, groups=4).bfloat16()
    images = torch.randn(1, 4, 9, 9).bfloat16()
    output = conv(images)
    assert torch.equal(output, F.conv2d(images, conv.weight, conv.bias, 2, groups=4))
    output.sum().backward()
    assert conv.bias is not None
    assert conv.bias.grad is not None
    assert torch.equal(conv.bias.grad, torch.full((4,), 16.0, dtype=torch.bfloat16))  # of 4x4 pixels


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"stride": 2, "padding": 1, "padding_mode": "reflect"}, (2, 4, 9, 9)),
        ({"dilation": 2, "padding": "same", "padding_mode": "circular"}, (2, 4, 9, 9)),
        ({"dilation": 2, "padding": "same"}, (2, 4, 9, 9)),
        ({"stride": 2, "padding": 3}, (2, 4, 9, 9)),  # further than the kernel reaches
        ({"stride": 2, "padding": 1}, (4, 9, 9)),  # an image without a batch
    ],
    ids=["reflected", "circular", "same", "far", "one image"],
)
def test_what_has_no_quick_gradients_has_torchs(
    options: dict[str, Any], shape: tuple[int, ...], used: list[torch.Size]
) -> None:
    torch.manual_seed(0)
    ours, torchs = DepthwiseConv2d(4, 4, 3, groups=4, **options), nn.Conv2d(4, 4, 3, groups=4, **options)
    torchs.load_state_dict(ours.state_dict())
    x = torch.randn(shape).bfloat16().requires_grad_()
    found, wanted = ours.bfloat16()(x), torchs.bfloat16()(x)
    assert torch.equal(found, wanted)
    gradient = torch.randn_like(wanted)
    assert torch.equal(torch.autograd.grad(found, x, gradient)[0], torch.autograd.grad(wanted, x, gradient)[0])
    assert not used


def test_types_that_do_not_fit_are_refused_while_it_learns_as_they_are_later() -> None:
    conv, images = DepthwiseConv2d(4, 4, 3, 2, groups=4), torch.randn(1, 4, 9, 9)
    with pytest.raises(RuntimeError, match="should be the same"):
        conv(images.bfloat16())
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(RuntimeError, match="should be the same"):
        conv(images.byte())


@pytest.mark.parametrize(("stride", "dilation", "kernel"), [(2, 1, 3), (1, 2, 3), (1, 1, 5)])
def test_gradients_have_gradients(stride: int, dilation: int, kernel: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 7, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 1, kernel, kernel, dtype=torch.float64, requires_grad=True)
    layout = ((stride, stride), (1, 1), (dilation, dilation))
    assert torch.autograd.gradgradcheck(
        lambda x, weight: depthwise._Depthwise.apply(x, weight, None, *layout), (x, weight)
    )


@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:FutureWarning")
def test_a_graph_that_is_traced_or_made_by_torch_func_has_torchs_own(used: list[torch.Size]) -> None:
    conv = DepthwiseConv2d(4, 4, 3, 2, groups=4).bfloat16()
    images = torch.randn(2, 4, 9, 9).bfloat16()
    torch.jit.save(torch.jit.trace(conv, images), io.BytesIO())  # type: ignore[no-untyped-call]  # untyped in torch
    of_each = torch.func.vmap(torch.func.grad(lambda image: conv(image[None]).float().square().sum()))(images)
    assert not used
    together = images.clone().requires_grad_()
    conv(together).float().square().sum().backward()
    assert together.grad is not None
    torch.testing.assert_close(of_each, together.grad)
    assert len(used) == 1
