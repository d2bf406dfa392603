from __future__ import annotations

from functools import partial

import pytest
import torch

from mnv2dense.losses import LossSum, MultiBoxLoss, SigmoidFocalLoss
from mnv2dense.metrics import CocoMeanAP
from mnv2dense.protocols import Loss
from mnv2dense.training.task import Task
from tests.helpers.tiny import tiny_model


def task(scores: str, loss: Loss) -> Task:
    model = tiny_model(scores=scores)
    return Task(model=model, loss=loss, metric=CocoMeanAP(), optimizer=partial(torch.optim.SGD, lr=0.1))


@pytest.mark.parametrize("loss", [MultiBoxLoss(), LossSum(terms={"boxes": MultiBoxLoss()})])
def test_a_loss_for_other_scores_than_the_heads_is_refused_also_inside_a_sum(loss: Loss) -> None:
    with pytest.raises(ValueError, match=rf"head.scores=sigmoid, but {type(loss).__name__} is for softmax scores"):
        task("sigmoid", loss)


def test_a_loss_adds_nothing_to_the_checkpoint() -> None:
    made = task("sigmoid", LossSum(terms={"boxes": SigmoidFocalLoss()}))
    assert {name.partition(".")[0] for name in made.state_dict()} == {"model"}
