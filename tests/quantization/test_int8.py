"""int8 played in float."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn, tensor

from mnv2dense.quantization.int8 import (
    Range,
    input_ranges,
    quantized_activation,
    quantized_weight,
    simulated_int8,
    weight_scales,
)
from mnv2dense.quantization.seen import seen_ranges
from mnv2dense.quantization.spread import spread_of
from mnv2dense.quantization.targets import TARGETS


def test_each_output_channel_has_its_own_127_steps() -> None:
    weight = tensor([[[[127.0, -1.4]]], [[[0.254, 0.0031]]], [[[0.0, 0.0]]]])  # steps of 1, 0.002 and none
    rounded = quantized_weight(weight)
    torch.testing.assert_close(rounded, tensor([[[[127.0, -1.0]]], [[[0.254, 0.004]]], [[[0.0, 0.0]]]]))


def test_activations_have_256_steps_one_of_which_is_0_and_saturate() -> None:
    x = tensor([-2.0, -1.0, 0.0, 0.004, 0.006, 1.55, 9.0])
    rounded = quantized_activation(x, Range(-1.0, 1.55))  # steps of 0.01
    torch.testing.assert_close(rounded, tensor([-1.0, -1.0, 0.0, 0.0, 0.01, 1.55, 1.55]))
    assert quantized_activation(x, Range(0.5, 0.7))[2] == 0, "a range that leaves 0 out is widened"


def test_one_scale_for_a_tensor_leaves_small_channels_few_steps() -> None:
    weight = tensor([[127.0, -1.4], [0.254, 0.6]])  # steps of 1
    assert quantized_weight(weight, TARGETS["per_tensor"]).tolist() == [[127, -1], [0, 1]]
    assert spread_of(weight, TARGETS["per_tensor"]) == (pytest.approx(127 / 0.6), 0.5)


def test_powers_of_two_are_the_least_that_hold_the_largest() -> None:
    weight = tensor([[100.0, 0.6], [3.0, 1.4]])
    assert weight_scales(weight, TARGETS["power_of_two"]).tolist() == [1.0], "100 / 127 is above a half"
    assert weight_scales(weight * 1.27, TARGETS["power_of_two"]).tolist() == [1.0], "127 steps of 1 just do"
    assert weight_scales(weight * 1.28, TARGETS["power_of_two"]).tolist() == [2.0]
    x = tensor([-9.0, 0.03, 0.04, 1.0, 7.95])
    rounded = quantized_activation(x, Range(-1.0, 7.0), TARGETS["power_of_two"])  # steps of 1/16, -8..7.9375
    assert rounded.tolist() == [-8.0, 0.0, 0.0625, 1.0, 7.9375]


def test_outputs_are_rounded_where_a_range_is_given() -> None:
    model = _two_layers().eval()
    image = _image(0)
    ranges, outputs = seen_ranges(model, [image], TARGETS["power_of_two"])
    assert list(outputs) == ["3"], "an activation follows the other"
    with simulated_int8(model, ranges, outputs=outputs, target=TARGETS["power_of_two"]):
        steps = model(image) * 127 / outputs["3"].high
    torch.testing.assert_close(steps, steps.round())


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
