"""Other projects' networks with random weights and statistics, and how far ours is from them, feature by feature."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mnv2dense.backbones.layout import FEATURE_NAMES

# The second is odd in all its halves, where paddings differ: 97 -> 49 -> 25 -> 13 -> 7, 129 -> 65 -> 33 -> 17 -> 9.
SIZES = ((96, 96), (97, 129))


def randomised(model: nn.Module, *, seed: int = 0) -> nn.Module:
    """In eval mode, with batch norms that have seen something: fresh ones hide a wrong epsilon or order."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            module.weight.data.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.7, 1.3, generator=generator)
            module.bias.data.uniform_(-0.2, 0.4, generator=generator)
            module.running_mean.uniform_(-0.2, 0.2, generator=generator)
            module.running_var.uniform_(0.3, 1.5, generator=generator)
    return model.eval()


@torch.no_grad()
def differences(ours: nn.Module, theirs: nn.Module, places: Mapping[str, str], images: Tensor) -> dict[str, float]:
    """Largest difference of each feature, relative to its largest value.

    Args:
        ours: built for all features, in eval mode.
        theirs: the peer, in eval mode.
        places: feature name -> the peer's module that gives it.
        images: [B, 3, H, W], normalised.
    """
    expected: dict[str, Tensor] = {}
    for feature, place in places.items():

        def keep(module: nn.Module, arguments: object, output: Tensor, feature: str = feature) -> None:
            expected[feature] = output.clone()

        theirs.get_submodule(place).register_forward_hook(keep)
    theirs(images)
    got = ours.eval()(images)
    assert set(got) == set(expected) == set(FEATURE_NAMES)
    return {feature: relative_difference(got[feature], tensor) for feature, tensor in expected.items()}


def relative_difference(got: Tensor, expected: Tensor) -> float:
    """Of the largest value; tensors that are nearly nothing compare nothing and are refused."""
    assert got.shape == expected.shape
    assert expected.std() > 1e-3
    return float((got - expected).abs().max() / expected.abs().max())
