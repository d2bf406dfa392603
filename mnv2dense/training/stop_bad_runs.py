"""Ends a run that does worse than the others of its sweep; who knows the others says which."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import final

import pytorch_lightning as pl

_log = logging.getLogger(__name__)


@final
class StopBadRuns(pl.Callback):
    """Tells the score of each validated epoch, and ends the training after one where the answer is so.

    The best checkpoint so far is scored as at the end of any run. Nobody is asked before ``min_epochs`` and
    ``min_steps`` of the trainer, which goes on until then whatever the answer.

    Args:
        monitor: logged name of the score.
        is_bad: (epoch, score) -> whether to stop; epochs count from 1. Asked in the first process alone.
        stopped: called there with the epoch after which the run was stopped.
    """

    def __init__(self, *, monitor: str, is_bad: Callable[[int, float], bool], stopped: Callable[[int], object]) -> None:
        self.monitor = monitor
        self.is_bad = is_bad
        self.stopped = stopped
        self._validated = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that there is a fresh score."""
        self._validated = trainer.state.fn == "fit" and not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ask, with the score of this epoch."""
        if not self._validated or self.monitor not in trainer.callback_metrics:
            return
        self._validated = False
        epoch, score = trainer.current_epoch + 1, float(trainer.callback_metrics[self.monitor])
        may_end = epoch >= (trainer.min_epochs or 0) and trainer.global_step >= (trainer.min_steps or 0)
        bad = trainer.is_global_zero and may_end and epoch != trainer.max_epochs and self.is_bad(epoch, score)
        if trainer.strategy.reduce_boolean_decision(bad, all=False):
            trainer.should_stop = True
        if bad:
            _log.info(
                "%s %.4g in epoch %d: other runs of the sweep did better; stopped here", self.monitor, score, epoch
            )
            self.stopped(epoch)
