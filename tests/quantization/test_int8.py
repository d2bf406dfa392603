"""int8 played in float."""

from __future__ import annotations

import torch
from torch import Tensor, nn, tensor

from mnv2dense.quantization.int8 import Range, input_ranges, quantized_activation, quantized_weight, simulated_int8


def test_each_output_channel_has_its_own_127_steps() -> None:
    weight = tensor([[[[127.0, -1.4]]], [[[0.254, 0.0031]]], [[[0.0, 0.0]]]])  # steps of 1, 0.002 and none
    rounded = quantized_weight(weight)
    torch.testing.assert_close(rounded, tensor([[[[127.0, -1.0]]], [[[0.254, 0.004]]], [[[0.0, 0.0]]]]))


def test_activations_have_256_steps_one_of_which_is_0_and_saturate() -> None:
    x = tensor([-2.0, -1.0, 0.0, 0.004, 0.006, 1.55, 9.0])
    rounded = quantized_activation(x, Range(-1.0, 1.55))  # steps of 0.01
    torch.testing.assert_close(rounded, tensor([-1.0, -1.0, 0.0, 0.0, 0.01, 1.55, 1.55]))
    assert quantized_activation(x, Range(0.5, 0.7))[2] == 0, "a range that leaves 0 out is widened"


def _two_layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6(), nn.Flatten(), nn.Linear(16, 2), nn.Dropout())


def _image(seed: int) -> Tensor:
    return torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(seed))


def test_ranges_are_of_what_goes_into_a_layer_over_all_images() -> None:
    model = _two_layers().eval()
    images = [_image(0), _image(1)]
    ranges = input_ranges(model, model, images)
    assert list(ranges) == ["0", "3"]
    both = torch.cat(images)
    assert ranges["0"] == (float(both.min()), float(both.max()))
    assert ranges["3"].low >= 0


def test_only_the_named_layers_are_rounded_and_only_within() -> None:
    model = _two_layers().eval()
    image = _image(0)
    exact, ranges = model(image), input_ranges(model, model, [image])
    inside = model[1](model[0](image))
    with simulated_int8(model, ranges, ["3"]):
        assert torch.equal(model[1](model[0](image)), inside)
        assert not torch.equal(model(image), exact)
        torch.testing.assert_close(model(image), exact, rtol=0.02, atol=0.02)
    with simulated_int8(model, ranges):
        assert not torch.equal(model[1](model[0](image)), inside)
    assert torch.equal(model(image), exact)
