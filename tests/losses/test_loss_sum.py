from __future__ import annotations

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from mnv2dense.losses import (
    DiceLoss,
    LossSum,
    LovaszSoftmax,
    MultiBoxLoss,
    OhemCrossEntropy,
    PixelCrossEntropy,
    SigmoidFocalLoss,
)
from mnv2dense.types import Batch
from tests.commands.test_conf import composed
from tests.helpers.loss_masks import MaskLossRules, batch, random_logits, random_masks
from tests.helpers.tiny import batch_of, random_images, tiny_model


class TestRules(MaskLossRules):
    def build(self) -> nn.Module:
        terms = {"hard": OhemCrossEntropy(keep=0.5), "dice": DiceLoss(), "lovasz": LovaszSoftmax()}
        return LossSum(terms=terms, weights={"lovasz": 0.5})


class TwoTerms(nn.Module):
    def forward(self, raw: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"first": raw.sum() * 0 + 1, "second": raw.sum() * 0 + 2}


def test_every_term_is_multiplied_by_the_factor_of_its_loss() -> None:
    raw, truth = random_logits(), batch(random_masks())
    loss = LossSum(terms={"dice": DiceLoss(), "both": TwoTerms()}, weights={"both": 3})
    terms = {name: value.item() for name, value in loss(raw, truth).items()}
    dice = DiceLoss()(raw, truth)["dice"].item()
    assert terms == {"dice": pytest.approx(dice), "both/first": 3.0, "both/second": 6.0}


@pytest.mark.parametrize(("other", "kind"), [("dice", DiceLoss), ("lovasz", LovaszSoftmax)])
def test_a_config_builds_a_sum_with_options_for_each_loss(other: str, kind: type[nn.Module]) -> None:
    config = composed(
        "task=segmentation",
        f"loss=pixel_cross_entropy_{other}",
        "loss.terms.cross_entropy.class_weights=[1,2,3,4]",
        f"loss.terms.{other}.align_corners=true",
        f"loss.weights.{other}=0.5",
    )
    loss = instantiate(config.loss)
    assert isinstance(loss.terms[other], kind)
    raw, truth = random_logits(), batch(random_masks())
    expected = PixelCrossEntropy(class_weights=[1, 2, 3, 4])(raw, truth) | {
        name: 0.5 * value for name, value in kind(align_corners=True)(raw, truth).items()
    }
    torch.testing.assert_close(loss(raw, truth), expected)


def test_options_outside_their_values_are_named() -> None:
    with pytest.raises(ValueError, match=r"^terms is empty"):
        LossSum(terms={})
    with pytest.raises(ValueError, match=r"^weights names 'dise', but the losses are dice"):
        LossSum(terms={"dice": DiceLoss()}, weights={"dise": 1})
    with pytest.raises(ValueError, match=r"^weights\['dice'\] is -1"):
        LossSum(terms={"dice": DiceLoss()}, weights={"dice": -1})


def test_losses_of_boxes_add_up_too_and_say_what_scores_they_are_for() -> None:
    raw = tiny_model(scores="sigmoid")(random_images(2))
    truth = batch_of(random_images(2), [[[10.0, 12.0, 60.0, 70.0]], [[30.0, 20.0, 90.0, 90.0]]], [[0], [2]])
    focal, sharper = SigmoidFocalLoss(), SigmoidFocalLoss(gamma=3.0)
    loss = LossSum(terms={"focal": focal, "sharper": sharper}, weights={"sharper": 0.5})
    expected = {f"focal/{name}": value for name, value in focal(raw, truth).items()}
    expected |= {f"sharper/{name}": 0.5 * value for name, value in sharper(raw, truth).items()}
    torch.testing.assert_close(loss(raw, truth), expected)
    assert loss.scores == "sigmoid"
    assert LossSum(terms={"dice": DiceLoss()}).scores is None


def test_losses_for_different_scores_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^terms: one for softmax, two for sigmoid scores; a head gives one kind"):
        LossSum(terms={"one": MultiBoxLoss(), "two": SigmoidFocalLoss()})


def test_a_loss_that_is_no_module_is_named() -> None:
    with pytest.raises(ValueError, match=r"^terms\['own'\] is a function, but must be a torch.nn.Module"):
        LossSum(terms={"own": lambda raw, batch: {}})  # type: ignore[dict-item]
