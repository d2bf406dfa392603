from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from mnv2dense.data.module import DataModule
from mnv2dense.data.shapes import Shapes
from mnv2dense.losses import LossSum, MultiBoxLoss, SigmoidFocalLoss
from mnv2dense.metrics import CocoMeanAP
from mnv2dense.protocols import Loss
from mnv2dense.training.checkpointing import BestAndLast
from mnv2dense.training.ema import EMA
from mnv2dense.training.task import Task
from mnv2dense.types import Batch
from tests.helpers.tiny import tiny_model
from tests.helpers.toy_run import toy_trainer


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


class Following(nn.Module):
    """Notes the epochs that it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = MultiBoxLoss()
        self.told: list[int] = []

    def begin_epoch(self, epoch: int) -> None:
        self.told.append(epoch)

    def forward(self, raw: Any, batch: Batch) -> dict[str, Tensor]:  # noqa: ANN401
        terms: dict[str, Tensor] = self.inner(raw, batch)
        return terms


class Uncertain(nn.Module):
    """Terms weighted by what is learnt about them (Kendall et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = MultiBoxLoss()
        self.log_variance = nn.Parameter(torch.zeros(2))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, raw: Any, batch: Batch) -> dict[str, Tensor]:  # noqa: ANN401
        terms = self.inner(raw, batch)
        weighted = zip(terms.items(), self.log_variance, strict=True)
        return {name: (term * (-s).exp() + s) for (name, term), s in weighted} | {"offset": self.bias.square().sum()}


def test_what_a_loss_learns_is_in_the_groups_of_the_head() -> None:
    def names(made: Task) -> list[list[str]]:
        known = {id(parameter): name for name, parameter in made.named_parameters()}
        return [[known[id(p)] for p in group["params"]] for group in made.new_optimizer().param_groups]

    plain, learning = names(task("softmax", MultiBoxLoss())), names(task("softmax", Uncertain()))
    assert learning == [*plain[:2], [*plain[2], "loss.log_variance"], [*plain[3], "loss.bias"]]
    assert plain[2][-1].startswith("model.head.")


def test_what_a_loss_shares_with_the_model_is_trained_once() -> None:
    loss = Uncertain()
    made = task("softmax", loss)
    loss.shared = made.model.head
    assert sum(len(group["params"]) for group in made.new_optimizer().param_groups) == 2 + len(
        list(made.model.parameters())
    )


class KeepFirst(pl.Callback):
    """Copies the checkpoint of the first epoch."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            folder = Path(trainer.default_root_dir)
            shutil.copy(folder / "checkpoints" / "last.ckpt", folder / "first.ckpt")


def test_what_a_loss_learns_goes_on_where_a_run_stopped(tmp_path: Path) -> None:
    def fitted(folder: Path, ckpt_path: Path | None = None) -> Uncertain:
        loss = Uncertain()
        model = tiny_model(6, size=(64, 64)).train()
        made = Task(
            model=model, loss=loss, metric=CocoMeanAP(), optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9)
        )
        drawn = [Shapes(split=split, train_images=8, val_images=2, image_size=64) for split in ("train", "val")]
        data = DataModule(train=drawn[0], val=drawn[1], size=(64, 64), batch_size=4, max_boxes=8, num_workers=0)
        callbacks = [EMA(decay=0.5), BestAndLast(), KeepFirst()]
        trainer = toy_trainer(folder, *callbacks, max_epochs=2, num_sanity_val_steps=0)
        trainer.fit(made, datamodule=data, ckpt_path=ckpt_path)
        return loss

    whole = fitted(tmp_path / "whole")
    assert whole.log_variance.abs().min() > 0.01  # it learnt
    resumed = fitted(tmp_path / "resumed", tmp_path / "whole" / "first.ckpt")
    assert torch.equal(whole.log_variance, resumed.log_variance)


class KeepMiddle(pl.Callback):
    """Copies the checkpoint of the first batch of the second epoch."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if (trainer.current_epoch, batch_idx) == (1, 0):
            folder = Path(trainer.default_root_dir)
            shutil.copy(folder / "checkpoints" / "last.ckpt", folder / "middle.ckpt")


def test_a_loss_is_told_its_epoch_also_where_a_run_goes_on_inside_one(tmp_path: Path) -> None:
    def told(folder: Path, ckpt_path: Path | None = None) -> list[int]:
        following = Following()
        made = Task(
            model=tiny_model(6, size=(64, 64)).train(),
            loss=LossSum(terms={"boxes": following}),
            metric=CocoMeanAP(),
            optimizer=partial(torch.optim.SGD, lr=0.1),
        )
        drawn = [Shapes(split=split, train_images=8, val_images=2, image_size=64) for split in ("train", "val")]
        data = DataModule(train=drawn[0], val=drawn[1], size=(64, 64), batch_size=4, max_boxes=8, num_workers=0)
        trainer = toy_trainer(
            folder, BestAndLast(every_n_batches=1), KeepMiddle(), max_epochs=2, num_sanity_val_steps=0
        )
        trainer.fit(made, datamodule=data, ckpt_path=ckpt_path)
        return list(dict.fromkeys(following.told))

    assert told(tmp_path / "whole") == [0, 1]
    assert told(tmp_path / "resumed", tmp_path / "whole" / "middle.ckpt") == [1]
