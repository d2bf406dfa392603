"""Weights cut off where that costs less than the steps it saves."""

from __future__ import annotations

import pytest
import torch
from torch import nn, tensor

from mnv2dense.quantization.clipping import clip
from mnv2dense.quantization.targets import TARGETS
from tests.helpers.small_models import calibration


class _Pixels(nn.Sequential):
    """uint8 images through its layers, as 0..1."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = super().forward(images.float() / 255)  # type: ignore[no-untyped-call]  # untyped in torch
        return made


def _model(wild: float, activation: nn.Module) -> _Pixels:
    """A channel of one wild weight beside one of small weights, of all three inputs."""
    model = _Pixels(nn.Conv2d(3, 2, 1), activation)
    with torch.no_grad():
        model[0].weight.copy_(tensor([[wild, 0.0, 0.0], [0.3, -0.2, 0.1]]).view(2, 3, 1, 1))  # type: ignore[operator]  # a convolution
        model[0].bias.zero_()  # type: ignore[operator]  # a convolution
    return model


@torch.no_grad()
def test_what_a_relu6_cuts_off_anyway_is_cut_off_in_the_weights() -> None:
    images = [image.clamp(min=26) for image in calibration((8, 8), 2)]
    model = _model(600.0, nn.ReLU6())  # 61 and more of every pixel: 6 in any case
    cut = clip(model, images, TARGETS["per_tensor"])
    assert 1 / 128 <= cut["0"] <= 1 / 8
    assert float(model[0].weight.detach().max()) == pytest.approx(600 * cut["0"])  # type: ignore[operator]  # a convolution
    torch.testing.assert_close(model(images[0])[:, 0], torch.full((1, 8, 8), 6.0))
    assert not clip(_model(600.0, nn.Identity()), images, TARGETS["per_tensor"]), "without ReLU6 it is an answer"


@torch.no_grad()
def test_biases_take_back_the_mean_of_what_was_cut_off() -> None:
    images = calibration((8, 8), 2)
    model = _model(0.6, nn.Identity())
    before = model(torch.cat(images)).mean(dim=(0, 2, 3))
    # Powers of two: 0.6 takes steps of 1/128, 0.6 > 127/256 could do with half of that.
    clip(model, images, TARGETS["power_of_two"])
    torch.testing.assert_close(model(torch.cat(images)).mean(dim=(0, 2, 3)), before)


def test_layers_that_stay_in_float_are_not_cut() -> None:
    images = [image.clamp(min=26) for image in calibration((8, 8), 2)]
    assert clip(_model(600.0, nn.ReLU6()), images, TARGETS["per_tensor"], keep_float=["0"]) == {}
