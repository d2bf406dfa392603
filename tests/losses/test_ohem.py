from __future__ import annotations

import math

import pytest
import torch
from torch import nn, tensor

from mnv2dense.losses import OhemCrossEntropy, PixelCrossEntropy
from tests.helpers.loss_masks import MaskLossRules, at_mask_size, batch, random_logits, random_masks


class TestRules(MaskLossRules):
    def build(self) -> nn.Module:
        return OhemCrossEntropy(threshold=0.6, keep=0.3, class_weights=[1, 2, 0.5, 3])


# One image of four pixels, all of class 0, which is given these probabilities.
_PROBABILITIES = (0.9, 0.8, 0.4, 0.2)
_RAW = tensor([[[[math.log(p / (1 - p)) for p in _PROBABILITIES]], [[0.0] * 4]]])
_TRUTH = batch(torch.zeros(1, 1, 4))


@pytest.mark.parametrize(
    ("threshold", "keep", "kept"),
    [
        (0.5, 0.0, (0.4, 0.2)),
        (0.5, 0.25, (0.4, 0.2)),  # as many as the threshold finds, or more
        (0.3, 0.5, (0.4, 0.2)),
        (0.3, 0.51, (0.8, 0.4, 0.2)),  # a started pixel is a whole one
        (0.1, 0.0, (0.2,)),  # never none
        (0.01, 1.0, _PROBABILITIES),
        (1.0, 0.0, _PROBABILITIES),
    ],
)
def test_the_unsure_pixels_count_and_at_least_the_hardest_share(
    threshold: float, keep: float, kept: tuple[float, ...]
) -> None:
    cost = OhemCrossEntropy(threshold=threshold, keep=keep)(_RAW, _TRUTH)["cross_entropy"]
    assert cost.item() == pytest.approx(sum(-math.log(p) for p in kept) / len(kept), rel=1e-5)


def test_the_share_is_one_of_the_pixels_that_are_not_ignored() -> None:
    truth = batch(tensor([[[255, 0, 255, 0]]]))
    cost = OhemCrossEntropy(threshold=0.01, keep=0.5)(_RAW, truth)["cross_entropy"]
    assert cost.item() == pytest.approx(-math.log(0.2), rel=1e-5)


def test_weights_do_not_change_which_pixels_count() -> None:
    raw, masks = random_logits().detach(), random_masks()
    logits, labels = at_mask_size(raw, masks)
    probability = logits.softmax(dim=1).gather(1, labels[:, None])[:, 0]
    hard = probability < 0.4
    weight = tensor([1.0, 2.0, 0.5, 3.0])
    expected = nn.functional.cross_entropy(logits[hard], labels[hard], weight=weight)
    loss = OhemCrossEntropy(threshold=0.4, keep=0.0, class_weights=weight.tolist())
    assert 0 < hard.sum() < len(hard)
    assert loss(raw, batch(masks))["cross_entropy"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_threshold_of_one_is_plain_cross_entropy() -> None:
    raw, truth = random_logits(), batch(random_masks())
    plain = PixelCrossEntropy()(raw, truth)["cross_entropy"]
    assert OhemCrossEntropy(threshold=1.0)(raw, truth)["cross_entropy"].item() == pytest.approx(plain.item())


def test_options_outside_their_values_are_named() -> None:
    with pytest.raises(ValueError, match=r"^threshold=0"):
        OhemCrossEntropy(threshold=0)
    with pytest.raises(ValueError, match=r"^keep=1.5"):
        OhemCrossEntropy(keep=1.5)
