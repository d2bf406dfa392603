"""What a run logged, epoch by epoch: for its curves, and carried on by a run that resumes it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, final

import pytorch_lightning as pl
import torch

from mnv2dense.metrics.watched import CANNOT_TELL, names_of
from mnv2dense.visualization.plots import plot_curves

# Among the names of curves in a checkpoint that was written within an epoch: the losses of its batches so far.
_UNFINISHED = "unfinished epoch"


@final
class History(pl.Callback):
    """Remembers the mean training loss and the validation scores of every epoch, and plots them.

    Args:
        scores: those validation scores that go on the plot, without ``val/``.

    Attributes:
        points: name -> [(epoch, value)], epochs counted from 1; of scores, those that the data could tell.
    """

    def __init__(self, *, scores: Sequence[str]) -> None:
        self.scores = names_of(scores, "callbacks.history.scores")
        self.points: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._losses: list[torch.Tensor] = []
        self._losses_before: torch.Tensor | None = None  # of this epoch's batches before the run was resumed
        self._validated = False

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401 - Lightning's own type
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Keep the loss on its device; reading it would wait for the device on every step."""
        self._losses.append(outputs["loss"].detach())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """One point for each name, after validation."""
        epoch = trainer.current_epoch + 1
        if (losses := self._losses_of_epoch()) is not None:
            # Lightning divides a batch's loss by the batches that are accumulated.
            self._add("train/loss", epoch, float(losses.mean()) * trainer.accumulate_grad_batches)
        self._losses, self._losses_before = [], None
        if self._validated:  # Lightning keeps the last scores; an epoch without validation has none of its own
            for name, value in trainer.callback_metrics.items():
                if self._is_kept(name) and (name == "val/loss" or float(value) != CANNOT_TELL):
                    self._add(name, epoch, float(value))
        self._validated = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """This epoch has scores of its own."""
        self._validated = not trainer.sanity_checking

    def plot(self, path: Path, *, lower_is_better: Collection[str] = ()) -> None:
        """Draw the losses and the chosen scores, each with its best; nothing where no epoch ended."""
        names = ("train/loss", "val/loss", *(f"val/{score}" for score in self.scores))
        chosen = {name: self.points[name] for name in names if name in self.points}
        if chosen:
            plot_curves(chosen, path, lower_is_better=[f"val/{score}" for score in lower_is_better])

    def state_dict(self) -> dict[str, Any]:
        """Plain lists and a tensor, so that the checkpoint loads without running code."""
        state: dict[str, Any] = {name: [list(point) for point in points] for name, points in self.points.items()}
        if (losses := self._losses_of_epoch()) is not None:
            state[_UNFINISHED] = losses.cpu()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the curves of the run that is resumed."""
        self.points = defaultdict(list)
        self._losses_before = state_dict.get(_UNFINISHED)
        for name, points in state_dict.items():
            if name != _UNFINISHED:
                self.points[name] = [(int(epoch), float(value)) for epoch, value in points]

    def _is_kept(self, name: str) -> bool:
        """Of validation, but not the scores of all classes."""
        score = name.removeprefix("val/")
        return score != name and ("/" not in score or score in self.scores)

    def _losses_of_epoch(self) -> torch.Tensor | None:
        """The loss of every batch so far, in order; None where there was none."""
        if not self._losses:
            return self._losses_before
        losses = torch.stack(self._losses)
        return losses if self._losses_before is None else torch.cat((self._losses_before.to(losses), losses))

    def _add(self, name: str, epoch: int, value: float) -> None:
        if math.isfinite(value):
            self.points[name].append((epoch, value))
