"""Layers that stay as they are while the rest is trained."""

from __future__ import annotations

from typing import final

import pytorch_lightning as pl
from torch import nn


@final
class Freeze(pl.Callback):
    """Keeps the backbone, or its first layers, as they are: for fine-tuning on few images.

    Frozen layers get no gradient, and their batch norms neither learn nor follow the batches' statistics.

    Args:
        backbone: True freezes all of it, a number the stem and that many blocks, False nothing. A number takes a
            backbone with ``stem`` and ``blocks``.
        batch_norm: every batch norm of the backbone keeps its statistics, also in layers that learn: for
            batches too small to measure a mean. Scale and shift still learn where the layer does.
    """

    def __init__(self, *, backbone: bool | int = True, batch_norm: bool = False) -> None:
        if not isinstance(backbone, bool) and backbone < 0:
            raise ValueError(f"backbone={backbone}: a number of blocks from 0, true for all or false")
        self.backbone = backbone
        self.batch_norm = batch_norm
        self._fixed_norms: list[nn.Module] = []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Freeze before the optimiser asks which parameters learn."""
        if stage != "fit":
            return
        backbone = pl_module.get_submodule("model.backbone")
        frozen = freeze(backbone, self.backbone)
        norms = (backbone if self.batch_norm else nn.ModuleList(frozen)).modules()
        self._fixed_norms = [module for module in norms if isinstance(module, nn.modules.batchnorm._BatchNorm)]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Here and not in setup: Lightning warns of modules that are in evaluation mode before training."""
        self._fix_norms()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Again, should anything have called ``train()`` in between."""
        self._fix_norms()

    def _fix_norms(self) -> None:
        for norm in self._fixed_norms:
            norm.eval()


def freeze(backbone: nn.Module, upto: bool | int) -> list[nn.Module]:
    """Turn gradients off in a backbone or its first layers, and return the modules concerned.

    Args:
        backbone: any; to count in, it has ``stem`` and a list ``blocks``.
        upto: True for all of it, a number for the stem and that many blocks, False for nothing.

    Raises:
        ValueError: there are not so many blocks, or nothing to count.
    """
    if upto is False:
        return []
    if upto is True:
        frozen = [backbone]
    else:
        stem, counted = (getattr(backbone, name, None) for name in ("stem", "blocks"))
        if not isinstance(stem, nn.Module) or not isinstance(counted, nn.Module):
            raise ValueError(
                f"freeze: backbone={upto}: a number counts the layers of stem and blocks, and "
                f"{type(backbone).__name__} does not have both; backbone=true freezes all of it."
            )
        blocks = list(counted.children())
        if upto > len(blocks):
            raise ValueError(f"backbone={upto}: this backbone has {len(blocks)} blocks; give at most that, or true")
        frozen = [stem, *blocks[:upto]]
    for module in frozen:
        module.requires_grad_(False)
    return frozen
