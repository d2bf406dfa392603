"""When to write a checkpoint: the best, the last, and one more when the run is told to stop.

Resuming from any of them gives the weights of the run that was never interrupted, bit for bit on CPU, if

- the loader gives the same batch for the same (epoch, index), and the datamodule has
  ``resume_at(epoch, batches)``: its training loader's next iterator starts there, while ``len()`` of the
  loader stays the whole epoch's;
- the loaders draw their workers' seeds from a generator of their own, as persistent workers are started anew;
- randomness inside the model (dropout) comes from the global generators of torch, numpy or Python;
- the run's length is given in epochs. Under ``max_steps`` Lightning takes a finished epoch for an unfinished one.

On several processes each goes on with generators of its own; on another number of them, none are restored.
"""

from __future__ import annotations

import logging
import math
import shutil
import signal
import warnings
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, Literal, NoReturn, final

import pytorch_lightning as pl

from mnv2dense.metrics.watched import CANNOT_TELL
from mnv2dense.pretrained.checkpoint_file import BEST, LAST
from mnv2dense.training import random_state
from mnv2dense.utils.distributed import gathered
from mnv2dense.utils.files import atomic_write, remove_leftovers
from mnv2dense.utils.signals import StopSignals

_log = logging.getLogger(__name__)

# Ranks must agree on where to stop, and agreeing costs a sync: not more often than this.
_BATCHES_BETWEEN_AGREEMENTS = 10


@final
class BestAndLast(pl.callbacks.Checkpoint):
    """Keeps ``best.ckpt`` and ``last.ckpt``, and stops the run in good order when it is told to.

    SIGTERM, Ctrl-C and SIGUSR1 (SLURM's warning before it takes a node away) let the batch at hand finish;
    then ``last.ckpt`` is written and the process ends with 128 + the signal's number: 143, 130 or 138. A
    second Ctrl-C ends it at once, or when the checkpoint that is being written is whole. A signal during
    validation ends it there, in a single process, and the resumed run begins by repeating that validation;
    several processes finish their validation first.

    Args:
        monitor: logged name that decides which is best; looked at after epochs with validation. -1, "cannot tell", is
            the best only as long as there is nothing else.
        mode: "max" if more is better, "min" if less is.
        every_n_epochs: how often ``last.ckpt`` is written at an epoch's end; the final epoch's always is.
        every_n_batches: write it within epochs too, for epochs of hours; never between two optimiser steps.
        folder: where; by default ``checkpoints`` in the trainer's default_root_dir.
        stop_on_signals: False leaves the signals alone.
    """

    def __init__(
        self,
        *,
        monitor: str = "val/AP",
        mode: Literal["min", "max"] = "max",
        every_n_epochs: int = 1,
        every_n_batches: int | None = None,
        folder: str | Path | None = None,
        stop_on_signals: bool = True,
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode={mode!r}: must be 'max' (more is better, as AP) or 'min' (less is, as a loss)")
        for name, value in (("every_n_epochs", every_n_epochs), ("every_n_batches", every_n_batches)):
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: must be at least 1")
        self.monitor = monitor
        self.mode = mode
        self.every_n_epochs = every_n_epochs
        self.every_n_batches = every_n_batches
        self.folder = None if folder is None else Path(folder)
        self.signals = StopSignals() if stop_on_signals else None
        self.best_score: float | None = None
        self.best_epoch: int | None = None
        self._validated = False
        self._stopping = False
        self._batches_since_save = 0
        self._between_steps = False  # no gradients are waiting for the rest of an accumulation
        self._epoch = 0  # where a run that resumes from a checkpoint written now would start ...
        self._batches = 0
        self._repeats_validation = False  # ... and whether with the validation that this one was in
        self._generators: dict[str, Any] = {}
        self._generators_of_processes: list[dict[str, Any]] = []  # by rank
        self._generators_to_restore: dict[str, Any] = {}
        self._quiet = ExitStack()  # until the first batch after resuming

    @property
    def best_path(self) -> Path:
        """Where the best checkpoint is, or will be after the first validation."""
        return self._folder() / BEST

    @property
    def last_path(self) -> Path:
        """Where the last checkpoint is, or will be after the first epoch."""
        return self._folder() / LAST

    def _folder(self) -> Path:
        if self.folder is None:
            raise RuntimeError("the checkpoint folder is known once a fit has begun; or set folder=")
        return self.folder

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Settle the folder, and clear it of what a killed run left half written."""
        if self.folder is None:
            self.folder = Path(trainer.default_root_dir) / "checkpoints"
        if stage != "fit":
            return
        # Where some load a checkpoint and others do not, they would wait for each other in the middle of it.
        blind = [str(rank) for rank, path in enumerate(gathered(trainer.ckpt_path)) if path is None]
        if 0 < len(blind) < trainer.world_size:
            raise ValueError(
                f"resume: process {', '.join(blind)} of {trainer.world_size} finds no checkpoint, others do; run_dir= "
                "has to be a folder that all machines share."
            )
        if trainer.is_global_zero:
            remove_leftovers(self.folder)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen to signals from here on."""
        if self._generators_to_restore:
            random_state.restore(self._generators_to_restore)
            self._generators_to_restore = {}
        self._stopping = False
        if self.signals is not None:
            self.signals.listen()
            if trainer.received_sigterm:  # it came while the run was being set up
                self.signals.received = signal.SIGTERM

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Warnings are the process's own again."""
        self._quiet.close()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Save and stop here if it is time to; after the last batch that is the epoch end's affair."""
        self._epoch, self._batches = trainer.current_epoch, batch_idx + 1
        self._generators = random_state.capture()
        self._batches_since_save += 1
        self._between_steps = trainer.is_last_batch or self._batches % trainer.accumulate_grad_batches == 0
        if trainer.is_last_batch or not self._between_steps:
            return
        agree = trainer.world_size == 1 or self._batches % _BATCHES_BETWEEN_AGREEMENTS == 0
        stop = agree and self._told_to_stop(trainer)
        due = self.every_n_batches is not None and self._batches_since_save >= self.every_n_batches
        if stop or due:
            self._save(trainer, self.last_path)
        if stop or (due and trainer.world_size == 1 and self._told_to_stop(trainer)):  # told while it was written
            self._exit(trainer)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A validation may take longer than the patience of whoever sent the signal."""
        # Ranks may have unequal numbers of validation batches: they cannot agree in here.
        if not _in_fit(trainer) or trainer.world_size > 1 or not self._between_steps:
            return
        if self._told_to_stop(trainer):
            self._repeats_validation = True
            self._save(trainer, self.last_path)
            self._exit(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that there are fresh scores; they are looked at when the epoch ends."""
        self._validated = _in_fit(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the best if it is, and the last."""
        self._epoch, self._batches = trainer.current_epoch + 1, 0
        self._generators = random_state.capture()
        if self._validated and self._is_best(trainer):
            self._save(trainer, self.best_path)
        self._validated = False
        self._stopping = self._told_to_stop(trainer)
        final_epoch = (
            trainer.should_stop or self._epoch == trainer.max_epochs or trainer.global_step == trainer.max_steps
        )
        if self._epoch % self.every_n_epochs == 0 or final_epoch or self._stopping:
            self._save(trainer, self.last_path)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop between two epochs: the loggers have the epoch's figures by now."""
        if self._stopping:
            self._exit(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop after the final epoch too, also if told in its save: what the caller does next takes time."""
        stopping = self._stopping or self._told_to_stop(trainer)
        self._release()
        if stopping:
            self._exit(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """A run that had nothing left to do has had no batch."""
        self._quiet.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._release()

    def state_dict(self) -> dict[str, Any]:
        """The best score so far, and where and how to go on."""
        return {
            "monitor": self.monitor,
            "mode": self.mode,
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "epoch": self._epoch,
            "batches": self._batches,
            "generators": self._generators,
            "generators_of_processes": self._generators_of_processes,
        }

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Within a validation, set Lightning's counters to where it began."""
        if self._repeats_validation:
            # "First batch begun, none finished" is what Lightning's loop takes for an unfinished validation.
            begun = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
            checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"] = {
                "total": begun,
                "current": dict(begun),
                "is_last_batch": False,
            }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """When a fit resumes: send the data to the same place, and bring the best checkpoint along."""
        state = checkpoint["callbacks"].get(self.state_key)
        if trainer.state.fn != "fit" or state is None:
            return
        self.best_score, self.best_epoch = state["best_score"], state["best_epoch"]
        self._forget_another_score(trainer, state)
        self._epoch, self._batches = state["epoch"], state["batches"]
        # An epoch's iterator draws from torch's generator when it is made. At an epoch's start that is yet to
        # come; within one it came before the checkpoint, so the generators have to be restored after it.
        if (generators := self._own_generators(trainer, state)) and self._batches == 0:
            random_state.restore(generators)
        else:
            self._generators_to_restore = generators
        self._bring_along(trainer)
        if trainer.max_steps != -1 and self._batches == 0:
            _log.warning(
                "trainer.max_steps=%d: resumed at the end of an epoch, a run limited in steps is not the same to the "
                "last bit; set trainer.max_epochs instead",
                trainer.max_steps,
            )
        datamodule = getattr(trainer, "datamodule", None)
        resume_at = getattr(datamodule, "resume_at", None)
        if resume_at is not None:
            resume_at(self._epoch, self._batches)
            # Lightning cannot know that the loader starts at the right batch; it warns before the first one.
            self._quiet.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch")
        elif self._batches:
            raise TypeError(
                f"{trainer.ckpt_path} was written within epoch {self._epoch}, after {self._batches} batches, "
                f"and {type(datamodule).__name__} has no resume_at(epoch, batches) to go on from there; "
                f"add it, or resume from {BEST}, which ends with its epoch"
            )

    def _own_generators(self, trainer: pl.Trainer, state: dict[str, Any]) -> dict[str, Any]:
        """Those of this process; empty where the run had another number of processes."""
        of_all = state.get("generators_of_processes") or [state["generators"]]  # until version 0.1 there is one
        mine: dict[str, Any] = of_all[trainer.global_rank] if len(of_all) == trainer.world_size else {}
        return mine

    def _forget_another_score(self, trainer: pl.Trainer, state: dict[str, Any]) -> None:
        """A loss is never better than the AP that was the best so far: nothing would be kept any more."""
        before = state.get("monitor", self.monitor), state.get("mode", self.mode)  # version 0.1 does not say
        if before == (self.monitor, self.mode):
            return
        self.best_score = self.best_epoch = None
        if trainer.is_global_zero:
            _log.warning(
                "The best checkpoint is chosen by %s (%s) from here on, by %s (%s) before: the best of the epochs that "
                "follow replaces it.",
                *(self.monitor, self.mode, *before),
            )

    def _bring_along(self, trainer: pl.Trainer) -> None:
        """A run that goes on in another folder takes its checkpoints with it, or looks for a new best.

        The last too: whoever resumes a finished run, or is killed before the next save, must find it there.
        """
        begins_with = Path(str(trainer.ckpt_path))
        before = begins_with.with_name(BEST)
        # The first process decides: the others may not know its folder.
        here, there = trainer.strategy.broadcast((self.best_path.exists(), before.exists()))
        if not here and not there:
            self.best_score = self.best_epoch = None
        if trainer.is_global_zero:
            if not here and there:
                _copy(before, self.best_path)
            if not self.last_path.exists():
                _copy(begins_with, self.last_path)

    def _is_best(self, trainer: pl.Trainer) -> bool:
        if self.monitor not in trainer.callback_metrics:
            raise ValueError(
                f"monitor={self.monitor!r}: not among the logged metrics "
                f"({', '.join(sorted(trainer.callback_metrics)) or 'there are none'}); set it to one of these"
            )
        score = float(trainer.callback_metrics[self.monitor])
        best = None if self._lost_best(trainer) else self.best_score
        if math.isnan(score) or (best is not None and not self._is_better(score, best)):
            return False
        self.best_score, self.best_epoch = score, trainer.current_epoch
        return True

    def _is_better(self, score: float, best: float) -> bool:
        if CANNOT_TELL in (score, best) and self.monitor != "val/loss":  # which would be the lowest error of all
            return score != CANNOT_TELL
        return score > best if self.mode == "max" else score < best

    def _lost_best(self, trainer: pl.Trainer) -> bool:
        """Whether the best so far was moved or deleted: the next one is kept in its place, or there would be none."""
        if self.best_score is None or getattr(trainer, "fast_dev_run", False):
            return False
        lost = bool(trainer.strategy.broadcast(not self.best_path.exists()))  # the first process looks
        if lost and trainer.is_global_zero:
            _log.warning("%s: moved or deleted in the middle of the run; this epoch takes its place", self.best_path)
        return lost

    def _save(self, trainer: pl.Trainer, path: Path) -> None:
        if not getattr(trainer, "fast_dev_run", False):
            self._generators_of_processes = gathered(self._generators)
            with nullcontext() if self.signals is None else self.signals.saving():
                trainer.save_checkpoint(path, weights_only=False)
            self._batches_since_save = 0

    def _told_to_stop(self, trainer: pl.Trainer) -> bool:
        told = self.signals is not None and self.signals.received is not None
        return told if trainer.world_size == 1 else bool(trainer.strategy.reduce_boolean_decision(told, all=False))

    def _release(self) -> None:
        self._quiet.close()
        if self.signals is not None:
            self.signals.release()

    def _exit(self, trainer: pl.Trainer) -> NoReturn:
        # All processes come here together; those that nobody told end as the one that was.
        told = gathered(self.signals.received if self.signals is not None else None)
        reason = next((number for number in told if number is not None), signal.SIGTERM)
        if trainer.is_global_zero:
            saved = f"; resume={self.last_path} goes on from here" if self.last_path.exists() else ""
            _log.warning("Stopped by %s%s", reason.name, saved)
        raise SystemExit(128 + reason)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as file, atomic_write(target) as copied:
        shutil.copyfileobj(file, copied)


def _in_fit(trainer: pl.Trainer) -> bool:
    return trainer.state.fn == "fit" and not trainer.sanity_checking
