"""A whole model in training on what carries no information: every pixel ignored, and a batch of one."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from mnv2dense import deeplabv3_mobilenet_v2
from mnv2dense.losses import DiceLoss, LossSum, LovaszSoftmax, OhemCrossEntropy, PixelCrossEntropy
from tests.helpers.loss_masks import batch

LOSSES = {
    "cross_entropy": lambda: PixelCrossEntropy(class_weights=[1, 2, 3]),
    "ohem": OhemCrossEntropy,
    "dice": DiceLoss,
    "lovasz": LovaszSoftmax,
    "sum": lambda: LossSum(terms={"cross_entropy": PixelCrossEntropy(), "lovasz": LovaszSoftmax()}),
}


@pytest.mark.parametrize("build", LOSSES.values(), ids=LOSSES)
def test_crops_that_are_all_void_cost_nothing_and_move_no_weight(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = deeplabv3_mobilenet_v2(3, width_mult=0.35, size=(64, 64), decoder=True).train()
    void = batch(torch.full((1, 64, 64), 255))
    cost = sum(build()(model(void.images), void).values())
    assert isinstance(cost, torch.Tensor)
    cost.backward()
    assert cost.item() == 0
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()  # nor is one NaN: that would count as something


@pytest.mark.parametrize("build", LOSSES.values(), ids=LOSSES)
def test_one_image_alone_trains_and_leaves_a_model_that_answers(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = deeplabv3_mobilenet_v2(3, width_mult=0.35, size=(64, 64), aspp=True).train()
    before = copy.deepcopy(model.state_dict())
    one = batch(torch.arange(3).repeat_interleave(22)[:64].expand(1, 64, 64))
    cost = sum(build()(model(one.images), one).values())
    assert isinstance(cost, torch.Tensor)
    cost.backward()
    torch.optim.SGD(model.parameters(), lr=0.01).step()
    assert cost.isfinite()
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert not torch.equal(before["head.classifier.weight"], model.state_dict()["head.classifier.weight"])
    assert model.eval()(one.images).isfinite().all()
