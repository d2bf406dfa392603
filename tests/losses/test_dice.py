from __future__ import annotations

import pytest
import torch
from torch import nn, tensor

from mnv2dense.losses import DiceLoss
from tests.helpers.loss_masks import CLASSES, MaskLossRules, at_mask_size, batch, random_logits, random_masks


class TestRules(MaskLossRules):
    def build(self) -> nn.Module:
        return DiceLoss()


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_everything() -> None:
    masks = tensor([[[0, 1, 1]]])
    right = nn.functional.one_hot(masks, 3).permute(0, 3, 1, 2) * 100.0
    assert DiceLoss()(right, batch(masks))["dice"].item() == pytest.approx(0, abs=1e-6)
    assert DiceLoss()(right.roll(1, dims=1), batch(masks))["dice"].item() == pytest.approx(1)


def test_undecided_pixels_are_half_in_every_region() -> None:
    # Class 0: overlap 0.5, regions 2 and 1. Class 1: overlap 1.5, regions 2 and 3. Class 2 is not there.
    raw = tensor([0.0, 0.0, -100.0]).view(1, 3, 1, 1).expand(1, 3, 1, 4)
    cost = DiceLoss()(raw, batch(tensor([[[0, 1, 1, 1]]])))["dice"]
    assert cost.item() == pytest.approx(1 - (2 * 0.5 / 3 + 2 * 1.5 / 5) / 2)


def test_it_is_the_mean_over_the_classes_shown_in_the_whole_batch() -> None:
    raw, masks = random_logits().detach(), random_masks()
    masks[masks == 2] = 255
    logits, labels = at_mask_size(raw, masks)
    probabilities = logits.softmax(dim=1)
    dice = [
        2 * probabilities[labels == k, k].sum() / (probabilities[:, k].sum() + (labels == k).sum())
        for k in range(CLASSES)
        if k != 2
    ]
    assert DiceLoss()(raw, batch(masks))["dice"].item() == pytest.approx(1 - torch.stack(dice).mean().item(), rel=1e-5)
