"""Layers that stay as they are while the rest is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast, final

import pytorch_lightning as pl
from torch import nn

from mnv2dense.heads.joint import JointHead


@final
class Freeze(pl.Callback):
    """Keeps the backbone, its first layers, or some of several heads as they are: for fine-tuning on few images.

    Frozen layers get no gradient, and their batch norms neither learn nor follow the batches' statistics.

    Args:
        backbone: True freezes all of it, a number the stem and that many blocks, False nothing. A number takes a
            backbone with ``stem`` and ``blocks``.
        batch_norm: every batch norm of the backbone keeps its statistics, also in layers that learn: for
            batches too small to measure a mean. Scale and shift still learn where the layer does.
        heads: names of those of several heads that stay as they are. With a frozen backbone their answers stay the
            same, to the bit.
    """

    def __init__(self, *, backbone: bool | int = True, batch_norm: bool = False, heads: Sequence[str] = ()) -> None:
        if not isinstance(backbone, bool) and backbone < 0:
            raise ValueError(f"backbone={backbone}: a number of blocks from 0, true for all or false")
        self.backbone = backbone
        self.batch_norm = batch_norm
        if isinstance(heads, str):
            raise ValueError(f"heads={heads!r} must be a list of names, as in [{heads}].")
        self.heads = tuple(heads)
        self._fixed_norms: list[nn.Module] = []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Freeze before the optimiser asks which parameters learn."""
        if stage != "fit":
            return
        backbone = pl_module.get_submodule("model.backbone")
        frozen = freeze(backbone, self.backbone)
        kept = [*frozen, *_frozen_heads(pl_module.get_submodule("model.head"), self.heads)]
        norms = nn.ModuleList([*kept, *([backbone] if self.batch_norm else [])]).modules()
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


def _frozen_heads(head: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    parts = head.parts if isinstance(head, JointHead) else {}
    for name in names:
        if name not in parts:
            there = (
                f"the heads are {', '.join(parts)}" if parts else f"{type(head).__name__} is one head without a name"
            )
            raise ValueError(f"freeze: heads={list(names)}: there is no {name!r}; {there}.")
    frozen = [cast(nn.Module, parts[name]) for name in names]
    for module in frozen:
        module.requires_grad_(False)
    return frozen


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
