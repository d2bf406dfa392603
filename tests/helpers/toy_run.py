"""A run small enough for a test: batch norm, dropout, and data that depend on (epoch, index) alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset

from mnv2dense.training.checkpoint_io import AtomicCheckpointIO
from mnv2dense.training.schedules import Cosine
from mnv2dense.types import Batch, Infos

BATCHES = 4
BATCH_SIZE = 3


class ToySampler:
    """Keys (epoch, index within the epoch); starts where it is told to."""

    def __init__(self) -> None:
        self.epoch = 0
        self.skip = 0

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.epoch, self.skip = epoch, 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter([(self.epoch, index) for index in range(self.skip * BATCH_SIZE, len(self))])

    def __len__(self) -> int:
        return BATCHES * BATCH_SIZE


class ToyImages(Dataset[Tensor]):
    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        epoch, index = key
        generator = torch.Generator().manual_seed(1000 * epoch + index)
        return torch.randint(0, 256, (3, 4, 4), dtype=torch.uint8, generator=generator), index

    def __len__(self) -> int:
        return BATCHES * BATCH_SIZE


def collate(samples: list[tuple[Tensor, int]]) -> Batch:
    images = torch.stack([image for image, _ in samples])
    ids = torch.tensor([index for _, index in samples])
    ones = torch.ones(len(samples), 2)
    return Batch(images, None, None, None, Infos(ids, ones.long(), ones, 0 * ones))


class ToyData(pl.LightningDataModule):
    def __init__(self) -> None:
        super().__init__()
        self.sampler = ToySampler()

    def resume_at(self, epoch: int, batches: int) -> None:
        self.sampler.epoch, self.sampler.skip = epoch, batches

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(ToyImages(), batch_size=BATCH_SIZE, sampler=self.sampler, collate_fn=collate)

    def val_dataloader(self) -> DataLoader[Any]:
        keys = [(99, index) for index in range(6)]
        return DataLoader(ToyImages(), batch_size=BATCH_SIZE, sampler=keys, collate_fn=collate)

    def train_paths(self, image_ids: list[int]) -> list[Path]:
        return [Path(f"pictures/{image_id}.jpg") for image_id in image_ids]


class ToyTask(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.3), nn.Conv2d(4, 1, 2))
        self.scores: list[float] = []

    def loss(self, batch: Batch) -> Tensor:
        return self.model(batch.images.float() / 255).square().mean()

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        loss = self.loss(batch)
        self.log("train/loss", loss, on_step=True, on_epoch=True, batch_size=len(batch.images))
        return {"loss": loss, "terms": {"squares": loss.detach()}}

    def on_validation_epoch_start(self) -> None:
        self.total = 0.0

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.total += float(self.loss(batch))

    def on_validation_epoch_end(self) -> None:
        self.log("val/AP", -self.total)
        self.scores.append(-self.total)

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        schedule = Cosine(total_steps=int(self.trainer.estimated_stepping_batches), warmup=0.2)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, schedule), "interval": "step"},
        }


class Once(pl.Callback):
    """Does something at one moment of the run: at a hook, in an epoch, at a batch."""

    def __init__(self, hook: str, *, epoch: int = 0, batch: int | None = None, send: signal.Signals) -> None:
        self.done = False

        def act(trainer: pl.Trainer, pl_module: pl.LightningModule, *args: int, **kwargs: object) -> None:
            here = trainer.current_epoch == epoch and (batch is None or args[-1] == batch)
            if here and not trainer.sanity_checking and not self.done:
                self.done = True
                os.kill(os.getpid(), send)

        setattr(self, hook, act)


def toy_trainer(folder: Path, *callbacks: pl.Callback, **options: object) -> pl.Trainer:
    return pl.Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": 3,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": folder,
            "plugins": [AtomicCheckpointIO()],
            "callbacks": list(callbacks),
            **options,
        }
    )
