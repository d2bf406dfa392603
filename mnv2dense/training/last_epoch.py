"""The end of every run is validated, whatever the interval between validations: its weights may be the best."""

from __future__ import annotations

from typing import final

import pytorch_lightning as pl


@final
class ValidateLastEpoch(pl.Callback):
    """Validates when the last epoch, or the last step of ``max_steps``, is done.

    With an interval of 4 epochs a run of 15 would else never score epochs 13 to 15, and hand out epoch 12 as its best.
    A run shorter than the interval would have no best at all. Runs that a time limit or early stopping ends are not
    known beforehand to end.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A run that goes on within its last epoch is not told of that epoch's start."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Before the last epoch: ask for a validation at its end."""
        batches = _batches_left(trainer)
        if batches is None:
            return
        trainer.check_val_every_n_epoch = 1
        if isinstance(trainer.val_check_batch, int) and batches % trainer.val_check_batch == 0:
            return  # one of the validations within the epoch falls on its end
        trainer.val_check_batch = batches


def _batches_left(trainer: pl.Trainer) -> int | None:
    """The batches of this epoch at which the run ends; None if it goes on after it."""
    whole = trainer.num_training_batches
    if not isinstance(whole, int) or whole < 1:  # a stream without an end
        return None
    if trainer.max_steps > 0:
        left = (trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches
        done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if 0 < left + done <= whole:
            return left + done
    last = trainer.max_epochs is not None and trainer.current_epoch + 1 == trainer.max_epochs
    return whole if last else None
