"""How far the run is: a live bar in a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import final

import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from torch import Tensor

from mnv2dense.metrics.watched import names_of, watched
from mnv2dense.types import Batch

_log = logging.getLogger(__name__)


@final
class ProgressLines(pl.callbacks.ProgressBar):
    """One line per epoch: loss, scores, learning rate, images/s, time left; in a terminal a bar too.

    Where the output is no terminal, an epoch that takes long gets lines in between, so that a log shows life.
    The loss is read from the device only when something is printed, because reading waits for it.

    Args:
        scores: validation scores to show beside the loss, where they exist, as in ["mIoU"]; None shows those of the
            module's metric (see :func:`mnv2dense.metrics.watched.watched`), else all but those of single classes.
        seconds_between_lines: within an epoch, without a terminal.
        batches_between_updates: of the bar's figures.
        console: where to print; by default the standard output.
    """

    def __init__(
        self,
        *,
        scores: Sequence[str] | None = None,
        seconds_between_lines: float = 60.0,
        batches_between_updates: int = 10,
        console: Console | None = None,
    ) -> None:
        super().__init__()
        self.scores = None if scores is None else names_of(scores, "callbacks.progress.scores")
        self.seconds_between_lines = seconds_between_lines
        self.batches_between_updates = batches_between_updates
        self._console = console or Console()
        self._enabled = True
        self._bar: Progress | None = None
        self._training: TaskID | None = None
        self._validation: TaskID | None = None
        self._started = self._printed = self._mark = time.monotonic()
        self._batches_in_all = 0  # by this process since it started, not counting what a resumed run did before
        self._start_epoch()

    def _start_epoch(self) -> None:
        self._validated = False
        self._batches = 0
        self._images = 0
        self._seconds = 0.0  # of training, validation left out
        self._loss: Tensor | None = None  # sum over the epoch's batches, on the device
        self._mark = time.monotonic()

    def disable(self) -> None:
        """Print nothing; Lightning calls it in all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Print again."""
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar where there is a terminal."""
        self._started = self._printed = time.monotonic()
        self._batches_in_all = 0
        self._start_epoch()  # a run resumed within an epoch is not told of that epoch's start
        if self._enabled and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                console=self._console,
                transient=True,
            )
            self._training = self._bar.add_task(_epoch(trainer), total=_known(trainer.num_training_batches), figures="")
            self._bar.start()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count anew."""
        self._start_epoch()
        if self._bar is not None and self._training is not None:
            self._bar.reset(self._training, description=_epoch(trainer), figures="")

    @torch.no_grad()
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Count; print if it is time to."""
        if not self._enabled:
            return
        self._batches += 1
        self._batches_in_all += 1
        self._images += len(batch.images) * trainer.world_size
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):
            loss = loss.detach() * trainer.accumulate_grad_batches  # Lightning has divided by it
            self._loss = loss if self._loss is None else self._loss + loss
        if self._bar is not None and self._training is not None:
            self._bar.update(self._training, completed=batch_idx + 1)
            if batch_idx % self.batches_between_updates == 0:
                self._bar.update(self._training, figures=self._figures(trainer))
        elif self._bar is None and time.monotonic() - self._printed > self.seconds_between_lines:
            done = f"batch {batch_idx + 1}/{trainer.num_training_batches}"
            self._print(f"{_epoch(trainer)}  {done}  {self._figures(trainer)}")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the training clock; show the validation's own bar."""
        self._seconds += time.monotonic() - self._mark
        if self._bar is not None:
            total = sum(_known(batches) or 0 for batches in trainer.num_val_batches)
            self._validation = self._bar.add_task("validation", total=total or None, figures="")

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Move the validation's bar."""
        if self._bar is not None and self._validation is not None:
            self._bar.advance(self._validation)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the training clock again."""
        self._validated = True
        self._mark = time.monotonic()
        if self._bar is not None and self._validation is not None:
            self._bar.remove_task(self._validation)
            self._validation = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The epoch's line."""
        if self._enabled and self._batches:
            line = f"{_epoch(trainer)}  {self._figures(trainer, scores=self._validated)}"
            self._print(line)
            _log.debug("%s", line)  # for the run's own log; the console has it

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the bar away; the lines stay."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the terminal in order."""
        self.on_train_end(trainer, pl_module)

    def _print(self, line: str) -> None:
        self._printed = time.monotonic()
        # soft_wrap: a log's reader wants one line to be one line.
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _figures(self, trainer: pl.Trainer, *, scores: bool = False) -> str:
        parts = []
        if self._loss is not None:
            parts.append(f"loss {float(self._loss) / self._batches:.4f}")
        for name in self._shown(trainer) if scores else ():
            if name in trainer.callback_metrics:
                parts.append(f"{name} {float(trainer.callback_metrics[name]):.4f}")
        if trainer.optimizers:
            parts.append(f"lr {max(group['lr'] for group in trainer.optimizers[0].param_groups):.3g}")
        seconds = self._seconds + time.monotonic() - self._mark
        parts.append(f"{self._images / max(seconds, 1e-9):.1f} images/s")
        left = self._seconds_left(trainer)
        if left is not None:
            parts.append(f"{_clock(left)} left")
        return "  ".join(parts)

    def _shown(self, trainer: pl.Trainer) -> list[str]:
        """Logged names, the loss first."""
        scores = self.scores
        if scores is None:
            metric = getattr(trainer.lightning_module, "metric", None)
            logged = (name.removeprefix("val/") for name in trainer.callback_metrics if name.startswith("val/"))
            scores = tuple(name for name in logged if "/" not in name) if metric is None else watched(metric).curves
        return list(dict.fromkeys(["val/loss", *(f"val/{name.removeprefix('val/')}" for name in scores)]))

    def _seconds_left(self, trainer: pl.Trainer) -> float | None:
        """By the pace so far, validation included; None where the end is not known."""
        per_epoch = _known(trainer.num_training_batches)
        if per_epoch is None or trainer.max_epochs is None or trainer.max_epochs < 1 or not self._batches_in_all:
            return None
        left = trainer.max_epochs * per_epoch - trainer.fit_loop.total_batch_idx - 1
        return (time.monotonic() - self._started) / self._batches_in_all * max(0, left)


def _epoch(trainer: pl.Trainer) -> str:
    known = trainer.max_epochs is not None and trainer.max_epochs > 0
    last = str(trainer.max_epochs) if known else "?"
    return f"epoch {trainer.current_epoch + 1:>{len(last)}}/{last}"


def _known(batches: float) -> int | None:
    """A number of batches, where the loader has a length."""
    return int(batches) if math.isfinite(batches) else None


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
