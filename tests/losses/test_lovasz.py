from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn, tensor

from mnv2dense.losses import LovaszSoftmax
from tests.helpers.loss_masks import CLASSES, MaskLossRules, at_mask_size, batch, random_logits, random_masks


class TestRules(MaskLossRules):
    def build(self) -> nn.Module:
        return LovaszSoftmax()


def sharp(answers: torch.Tensor, classes: int) -> torch.Tensor:
    """Logits of a model that is sure: [B, H, W] -> [B, classes, H, W]."""
    return nn.functional.one_hot(answers, classes).permute(0, 3, 1, 2) * 100.0


def test_for_sure_answers_it_is_one_minus_iou_whatever_the_answers() -> None:
    masks = tensor([[[0, 0, 1, 1, 255]]])
    for answers in itertools.product((0, 1, 2), repeat=4):
        predicted = tensor([[[*answers, 0]]])
        iou = [
            ((predicted == k) & (masks == k)).sum() / (((predicted == k) & (masks != 255)) | (masks == k)).sum()
            for k in (0, 1)  # class 2 is not there
        ]
        cost = LovaszSoftmax()(sharp(predicted, 3), batch(masks))["lovasz"]
        assert cost.item() == pytest.approx(1 - torch.stack(iou).mean().item(), abs=1e-6), answers


def jaccard_loss(wrong: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> float:
    """1 - IoU of the true region with itself after the wrong pixels changed sides."""
    predicted = true ^ wrong
    return 1 - float((predicted & true).sum() / (predicted | true).sum())


def test_it_interpolates_one_minus_iou_between_sets_of_wrong_pixels() -> None:
    raw, masks = random_logits(size=(3, 4)).detach(), random_masks(size=(6, 8))
    logits, labels = at_mask_size(raw, masks)
    probabilities = logits.softmax(dim=1).double().numpy()
    costs = []
    for k in range(CLASSES):
        true = labels.numpy() == k
        errors = np.abs(true - probabilities[:, k])
        order = np.argsort(-errors)
        # The definition: errors, largest first, times what each pixel adds to the loss of the set before it.
        wrong, before, cost = np.zeros(len(true), np.bool_), 0.0, 0.0
        for pixel in order:
            wrong[pixel] = True
            after = jaccard_loss(wrong, true)
            cost += errors[pixel] * (after - before)
            before = after
        costs.append(cost)
    assert LovaszSoftmax()(raw, batch(masks))["lovasz"].item() == pytest.approx(np.mean(costs), rel=1e-5)


def test_a_million_pixels_lose_nothing_to_rounding() -> None:
    # Halves: everywhere the error is 0.5, so the weights' sum, which is 1 for each class, shows.
    masks = torch.arange(2**20).remainder(2).view(1, 1024, 1024)
    assert LovaszSoftmax()(torch.zeros(1, 2, 1, 1), batch(masks))["lovasz"].item() == pytest.approx(0.5, abs=1e-6)
