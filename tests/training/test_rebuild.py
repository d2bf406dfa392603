from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mnv2dense.models.dense_model import DenseModel, build_model
from mnv2dense.training.rebuild import check_rebuilds
from mnv2dense.types import FeatureInfo
from tests.helpers.tiny import tiny_model

HERE = __name__
PACKAGES = ("mnv2dense", "tests")


class OneMap(nn.Module):
    """A backbone of one convolution, as somebody outside may write it."""

    def __init__(self, *, features: tuple[str, ...] = ("deep",), width: int = 4, slope: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=32, padding=1)
        self.slope = slope
        self.feature_info = {name: FeatureInfo(width, 32) for name in features}
        self.mean = self.std = (0.5, 0.5, 0.5)
        self.config: dict[str, Any] = {"_target_": f"{HERE}.{type(self).__name__}", "width": width, "slope": slope}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = nn.functional.leaky_relu(self.conv(images), self.slope)
        return dict.fromkeys(self.feature_info, x)


class HoldsFeatures(OneMap):
    """As a head's config does."""

    def __init__(self, *, features: tuple[str, ...] = ("deep",)) -> None:
        super().__init__(features=features)
        self.config = {"_target_": f"{HERE}.HoldsFeatures", "features": list(features)}


class ForgetsItsSlope(OneMap):
    def __init__(self, *, features: tuple[str, ...] = ("deep",), slope: float = 0.0) -> None:
        super().__init__(features=features, slope=slope)
        self.config = {"_target_": f"{HERE}.ForgetsItsSlope"}


class HoldsAnObject(OneMap):
    def __init__(self, *, features: tuple[str, ...] = ("deep",), kind: Any = None) -> None:  # noqa: ANN401
        super().__init__(features=features)
        self.config = {"_target_": f"{HERE}.HoldsAnObject", "kind": HoldsAnObject}


def made_by_a_function(*, features: tuple[str, ...], width: int) -> OneMap:
    return OneMap(features=features, width=width)


def forgets_its_class(*, features: tuple[str, ...]) -> OneMap:
    made = OneMap(features=features)
    made.config = {"_target_": f"{HERE}.forgets_its_class"}
    return made


def model_on(backbone: str, **options: object) -> DenseModel:
    return build_model(
        {
            "size": [64, 64],
            "class_names": ["cat", "dog"],
            "backbone": {"_target_": f"{HERE}.{backbone}", **options},
            "head": {"_target_": "mnv2dense.heads.ClassifierHead", "features": ["deep"]},
        },
        packages=PACKAGES,
    )


@pytest.mark.parametrize(
    "made",
    [tiny_model, lambda: model_on("OneMap", slope=0.2), lambda: model_on("made_by_a_function", width=6)],
    ids=["ours", "a class of others", "a function of others"],
)
def test_a_model_that_its_config_makes_again_passes_and_nothing_changes(made: Callable[[], DenseModel]) -> None:
    model = made().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    check_rebuilds(model, packages=PACKAGES)
    drawn = torch.rand(1).item(), random.random(), np.random.rand()
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    assert drawn == (torch.rand(1).item(), random.random(), np.random.rand())
    assert all(module.training for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("backbone", "options", "message"),
    [
        (
            "HoldsFeatures",
            {},
            r"cannot be made again .*backbone\.features is given .*leave it out\. config has _target_",
        ),
        ("ForgetsItsSlope", {"slope": 0.5}, r"answers otherwise, .*an option that changes what it computes"),
        ("HoldsAnObject", {}, r"cannot be made again .*so nothing could load .*HoldsAnObject, which is no"),
        ("forgets_its_class", {}, r"cannot be made again .*forgets_its_class' is refused: it is not a torch module"),
    ],
)
def test_a_model_that_no_checkpoint_could_bring_back_is_refused_before_it_is_trained(
    backbone: str, options: Mapping[str, Any], message: str
) -> None:
    model = model_on(backbone, **options)
    with torch.no_grad():
        model.backbone.conv.bias.fill_(-1.0)  # type: ignore[union-attr]  # so that the slope shows
    with pytest.raises(ValueError, match=message):
        check_rebuilds(model, packages=PACKAGES)
