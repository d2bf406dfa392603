from __future__ import annotations

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from mnv2dense.training.checkpointing import BestAndLast
from mnv2dense.training.ema import EMA
from tests.helpers.toy_run import ToyData, ToyTask, toy_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
]


class Record(pl.Callback):
    """The first weight of the model after every batch, and while validating."""

    def __init__(self) -> None:
        self.trained: list[Tensor] = []
        self.validated: list[Tensor] = []
        self.steps: list[int] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        self.trained.append(next(pl_module.parameters()).detach().clone())
        self.steps.append(trainer.global_step)

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        self.validated.append(next(pl_module.parameters()).detach().clone())


def fit(folder: Path, ema: EMA, **options: object) -> tuple[Record, ToyTask]:
    record, task = Record(), ToyTask()
    trainer = toy_trainer(folder, ema, record, BestAndLast(), **{"max_epochs": 1, **options})
    trainer.fit(task, datamodule=ToyData())
    return record, task


def average(start: Tensor, weights: list[Tensor], decays: list[float]) -> Tensor:
    mean = start
    for weight, decay in zip(weights, decays, strict=True):
        mean = decay * mean + (1 - decay) * weight
    return mean


def test_validation_runs_on_the_average_and_training_goes_on_with_the_trained_weights(tmp_path: Path) -> None:
    start = next(ToyTask().parameters()).detach()
    record, task = fit(tmp_path, EMA(decay=0.5, ramp=False))
    expected = average(start, record.trained, [0.5] * 4)
    torch.testing.assert_close(record.validated[-1], expected)
    assert not torch.equal(record.validated[-1], record.trained[-1])
    torch.testing.assert_close(next(task.parameters()).detach(), expected)  # what is left after training


def test_the_ramp_forgets_the_initial_weights_first(tmp_path: Path) -> None:
    start = next(ToyTask().parameters()).detach()
    record, _ = fit(tmp_path, EMA(decay=0.2))
    expected = average(start, record.trained, [1 / 10, 2 / 11, 0.2, 0.2])
    torch.testing.assert_close(record.validated[-1], expected)


def test_the_average_moves_once_per_optimiser_step_when_gradients_are_accumulated(tmp_path: Path) -> None:
    start = next(ToyTask().parameters()).detach()
    record, _ = fit(tmp_path, EMA(decay=0.5, ramp=False), accumulate_grad_batches=2)
    assert record.steps == [0, 1, 1, 2]
    expected = average(start, [record.trained[1], record.trained[3]], [0.5, 0.5])
    torch.testing.assert_close(record.validated[-1], expected)


def test_a_checkpoint_offers_the_average_and_keeps_the_trained_weights_beside_it(tmp_path: Path) -> None:
    record, task = fit(tmp_path, EMA(decay=0.5))
    saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert torch.equal(saved["state_dict"]["model.0.weight"], next(task.parameters()))
    assert torch.equal(saved["raw_state_dict"]["model.0.weight"], record.trained[-1])
    # Batch-norm statistics are averaged like weights; the count of batches is taken as it is.
    mean = "model.1.running_mean"
    assert not torch.equal(saved["state_dict"][mean], saved["raw_state_dict"][mean])
    assert saved["state_dict"]["model.1.num_batches_tracked"] == 4


def test_testing_a_checkpoint_uses_its_average(tmp_path: Path) -> None:
    fit(tmp_path, EMA(decay=0.5))
    path = tmp_path / "checkpoints/last.ckpt"
    record, task = Record(), ToyTask()
    toy_trainer(tmp_path, EMA(decay=0.5), record, BestAndLast()).validate(
        task, datamodule=ToyData(), ckpt_path=path, verbose=False
    )
    saved = torch.load(path, weights_only=True)["state_dict"]["model.0.weight"]
    assert torch.equal(record.validated[0], saved)


def test_half_precision_weights_are_averaged_in_float32(tmp_path: Path) -> None:
    ema = EMA(decay=0.9998, ramp=False)
    task = ToyTask().to(torch.bfloat16)
    ema.on_fit_start(None, task)  # type: ignore[arg-type]
    assert ema._average["model.0.weight"].dtype is torch.float32


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_would_never_learn_or_explode_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=f"decay={decay}"):
        EMA(decay=decay)
