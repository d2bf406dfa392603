from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn, tensor

from mnv2dense.losses import PixelCrossEntropy
from tests.helpers.loss_masks import MaskLossRules, at_mask_size, batch, random_logits, random_masks


class TestRules(MaskLossRules):
    def build(self) -> nn.Module:
        return PixelCrossEntropy(class_weights=[1, 2, 0.5, 3], label_smoothing=0.1)


def test_equal_logits_cost_the_logarithm_of_their_number_whatever_is_ignored() -> None:
    masks = tensor([[[0, 4, 255], [255, 1, 2]]])
    cost = PixelCrossEntropy()(torch.zeros(1, 5, 1, 1), batch(masks))["cross_entropy"]
    assert cost.item() == pytest.approx(math.log(5))


def test_weights_decide_between_a_right_and_a_wrong_pixel() -> None:
    raw = tensor([[[[30.0, 30.0]], [[0.0, 0.0]]]])  # both pixels say class 0; the second one is class 1
    cost = PixelCrossEntropy(class_weights=[1.0, 3.0])(raw, batch(tensor([[[0, 1]]])))["cross_entropy"]
    assert cost.item() == pytest.approx(3 / 4 * 30)
    scaled = PixelCrossEntropy(class_weights=[10.0, 30.0])(raw, batch(tensor([[[0, 1]]])))["cross_entropy"]
    assert scaled.item() == pytest.approx(cost.item())


def test_pixels_of_classes_that_weigh_nothing_cost_nothing_without_dividing_by_zero() -> None:
    loss = PixelCrossEntropy(class_weights=[0.0, 1.0])
    assert loss(torch.randn(1, 2, 3, 3), batch(torch.zeros(1, 3, 3)))["cross_entropy"].item() == 0


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("class_weights", [None, [1.0, 2.0, 0.5, 3.0]])
def test_it_is_the_weighted_mean_over_the_enlarged_pixels_that_count(
    class_weights: list[float] | None, align_corners: bool
) -> None:
    raw, masks = random_logits().detach(), random_masks()
    logits, labels = at_mask_size(raw, masks, align_corners=align_corners)
    weight = None if class_weights is None else tensor(class_weights)
    loss = PixelCrossEntropy(class_weights=class_weights, label_smoothing=0.2, align_corners=align_corners)
    expected = F.cross_entropy(logits, labels, weight=weight, label_smoothing=0.2)
    assert loss(raw, batch(masks))["cross_entropy"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_weights_are_not_part_of_a_checkpoint() -> None:
    assert not PixelCrossEntropy(class_weights=[1, 2]).state_dict()


def test_options_outside_their_values_are_named() -> None:
    with pytest.raises(ValueError, match=r"^label_smoothing=1.0"):
        PixelCrossEntropy(label_smoothing=1.0)
    with pytest.raises(ValueError, match=r"class_weights\[1\] is -2.0"):
        PixelCrossEntropy(class_weights=[1, -2])
    with pytest.raises(ValueError, match=r"class_weights\[0\] is nan"):
        PixelCrossEntropy(class_weights=[math.nan])
    with pytest.raises(ValueError, match=r"class_weights='inverse_log': .* finds them in a data set"):
        PixelCrossEntropy(class_weights="inverse_log")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="give one above 0"):
        PixelCrossEntropy(class_weights=[0, 0])
    with pytest.raises(ValueError, match="has 2 values, but the head gives 4 classes"):
        PixelCrossEntropy(class_weights=[1, 2])(random_logits(), batch(random_masks()))
