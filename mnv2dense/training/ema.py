"""The exponential moving average of a model's weights: what is evaluated, kept and shipped."""

from __future__ import annotations

from typing import Any, final

import pytorch_lightning as pl
import torch
from torch import Tensor

_RAW_WEIGHTS = "raw_state_dict"
"""Checkpoint key of the weights being trained; ``state_dict`` holds the average, which is what users want."""


@final
class EMA(pl.Callback):
    """Averages weights and batch-norm statistics over optimiser steps.

    After optimiser step n (counted from 1) the average moves towards the weights by ``1 - decay_n``, where
    ``decay_n = min(decay, n / (9 + n))``: the ramp of TensorFlow's ExponentialMovingAverage, without which
    the random initial weights would weigh on the average for thousands of steps.

    - Validation inside a fit runs on the averaged weights; the trained ones come back after it.
    - A checkpoint's ``state_dict`` is the average; the trained weights lie beside it, so that a resumed run
      is the same to the last bit.
    - When training ends, the module keeps the average.

    Weights are copied, never re-pointed, so that compiled graphs and DDP's buckets stay valid. Nothing here
    waits for the device. Integer buffers (batch counters) are not averaged.

    Args:
        decay: 0..1, below 1; 0.9998 remembers about the last 5,000 steps.
        ramp: False uses ``decay`` from the first step on.
    """

    def __init__(self, *, decay: float = 0.9998, ramp: bool = True) -> None:
        if not 0 <= decay < 1:
            raise ValueError(
                f"decay={decay}: must be at least 0 and below 1; 0.9998 suits runs of 20,000 steps or more"
            )
        self.decay = decay
        self.ramp = ramp
        self._tensors: dict[str, Tensor] = {}  # the module's own, by state_dict name
        self._average: dict[str, Tensor] = {}  # float32 or wider, by the same names; empty outside a fit
        self._raw: dict[str, Tensor] = {}  # the trained weights while the averaged ones are in the module
        self._loaded: dict[str, Tensor] = {}  # an average read from a checkpoint, until the fit starts
        self._updates = 0
        self._last_step = 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the average at the weights, by now on their device, or where the checkpoint left it."""
        if not self._loaded:
            self._updates = 0
        self._tensors = _averaged_tensors(pl_module)
        self._average = {
            name: _wide(self._loaded.get(name, tensor).to(tensor.device)).clone()
            for name, tensor in self._tensors.items()
        }
        self._loaded = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count optimiser steps from where the run stands."""
        self._tensors = _averaged_tensors(pl_module)  # again: the module may have changed its memory format since
        self._last_step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Move the average after a batch that stepped the optimiser."""
        if trainer.global_step == self._last_step:  # gradients are still being accumulated
            return
        self._last_step = trainer.global_step
        self._updates += 1
        decay = min(self.decay, self._updates / (9 + self._updates)) if self.ramp else self.decay
        weights = [_wide(tensor) for tensor in self._tensors.values()]
        torch._foreach_lerp_(list(self._average.values()), weights, 1 - decay)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Evaluate the average."""
        if self._average and not self._raw:
            if trainer.world_size > 1:
                # Batch-norm statistics are each process' own; all must score the model that the first one saves.
                for name, _ in pl_module.named_buffers():
                    if name in self._average:
                        torch.distributed.broadcast(self._average[name], src=0)
            self._tensors = _averaged_tensors(pl_module)
            self._raw = {name: tensor.clone() for name, tensor in self._tensors.items()}
            _copy(self._tensors, self._average)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on training what was being trained."""
        if self._raw:
            _copy(self._tensors, self._raw)
            self._raw = {}

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the average in the module: what is tested, exported or saved from here on."""
        _copy(self._tensors, self._average)
        self._average = {}

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Do not leave a module in the swapped state behind."""
        self.on_validation_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """How far the ramp has come."""
        return {"updates": self._updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the ramp."""
        self._updates = state_dict["updates"]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Make ``state_dict`` the average, and put the trained weights beside it."""
        if not self._average:
            return
        weights = checkpoint["state_dict"]
        checkpoint[_RAW_WEIGHTS] = {**weights, **self._raw}
        checkpoint["state_dict"] = {**weights, **self._average}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """A fit that resumes trains the trained weights; any other use keeps the average."""
        if trainer.state.fn != "fit" or _RAW_WEIGHTS not in checkpoint:
            return
        self._loaded = {name: checkpoint["state_dict"][name] for name in _averaged_tensors(pl_module)}
        pl_module.load_state_dict(checkpoint[_RAW_WEIGHTS])


def _averaged_tensors(module: torch.nn.Module) -> dict[str, Tensor]:
    """Floating-point parameters and buffers by ``state_dict`` name, detached but sharing their memory."""
    return {name: tensor for name, tensor in module.state_dict().items() if tensor.is_floating_point()}


def _wide(tensor: Tensor) -> Tensor:
    """Half precision as float32: a step of 1 - 0.9998 vanishes in it. Others unchanged, not copied."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


@torch.no_grad()
def _copy(to: dict[str, Tensor], source: dict[str, Tensor]) -> None:
    torch._foreach_copy_(list(to.values()), [source[name] for name in to])
