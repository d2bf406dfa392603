"""Quantisation-aware fine-tuning: a model that learns to live with int8 before it is exported (Jacob et al. 2018, 3).

For models that lose too much when a file in int8 is made of them as they are. What comes out is a plain checkpoint in
float32, whose weights stand int8 better: every exporter takes it as it takes any other, with ``precision=int8``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, final

import pytorch_lightning as pl
import torch
from torch import nn

from mnv2dense.quantization.fake_quantization import FakeQuantization, torchao_pt2e

log = logging.getLogger(__name__)

_Norm = nn.modules.batchnorm._BatchNorm


@final
class QuantizationAware(pl.Callback):
    """Trains ``model`` of the module with :class:`FakeQuantization`, its batch norms as they are.

    Validation rounds too, so the checkpoint that is kept is the one that is best in int8.

    Args:
        observe_steps: batches over which the ranges of activations follow the images; then they stay, and the
            weights settle.
        keep_float: modules of the model that stay in float, as they will in the file.

    Raises:
        ValueError: no steps to observe; or when training starts, an unknown module, or a model that was not trained.
        ImportError: torchao is not installed.
    """

    def __init__(self, *, observe_steps: int = 200, keep_float: Sequence[str] = ()) -> None:
        if observe_steps < 1:
            raise ValueError(f"observe_steps={observe_steps}: at least one batch has to show the ranges.")
        torchao_pt2e()  # said here if it is missing, and not when training has begun
        self.observe_steps = observe_steps
        self.keep_float = list(keep_float)
        self._quantization: FakeQuantization | None = None
        self._loaded: dict[str, Any] = {}
        self._seen = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to round."""
        model = pl_module.get_submodule("model")
        norms = [module for module in model.modules() if isinstance(module, _Norm)]
        if norms and all(norm.running_var is not None and bool((norm.running_var == 1).all()) for norm in norms):
            raise ValueError(
                "callbacks=quantization_aware fine-tunes a trained model, and this one's batch norms have seen "
                "nothing: add init_from= and the run that trained it."
            )
        self._quantization = FakeQuantization(model, keep_float=self.keep_float)
        if self._loaded:
            self._quantization.state.load_state_dict(self._loaded)
            self._loaded = {}
        self._quantization.attach()
        self._follow()
        self._fix_norms(pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Again, should anything have called ``train()`` in between."""
        self._fix_norms(pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Fix the ranges when they have been followed for long enough."""
        self._seen += 1
        if self._seen == self.observe_steps and self._quantization is not None:
            self._follow()
            if trainer.world_size > 1:  # each process saw images of its own
                for buffer in self._quantization.state.buffers():
                    torch.distributed.broadcast(buffer, src=0)
            log.info("quantisation: the ranges of activations stay as they are from here on")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Round as in training, but learn no ranges."""
        if self._quantization is not None:
            self._quantization.observe(False)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on following the images."""
        self._follow()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave a plain model behind, also after an error."""
        if self._quantization is not None:
            self._quantization.detach()
            self._quantization = None

    def state_dict(self) -> dict[str, Any]:
        """The ranges, and how long they were followed."""
        ranges = self._loaded if self._quantization is None else self._quantization.state.state_dict()
        return {"seen": self._seen, "ranges": dict(ranges)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with them."""
        self._seen, self._loaded = state_dict["seen"], state_dict["ranges"]

    def _follow(self) -> None:
        if self._quantization is not None:
            self._quantization.observe(self._seen < self.observe_steps)

    def _fix_norms(self, pl_module: pl.LightningModule) -> None:
        for module in pl_module.get_submodule("model").modules():
            if isinstance(module, _Norm):
                module.eval()
