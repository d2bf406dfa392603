"""The project's own loader under the trainer: interrupted within an epoch, resumed, and the same to the last bit."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mnv2dense.data.augment import DetectionAugment
from mnv2dense.data.module import DataModule
from mnv2dense.training.checkpointing import BestAndLast
from mnv2dense.training.ema import EMA
from mnv2dense.types import Sample
from tests.helpers.toy_run import Once, ToyTask, toy_trainer

pytestmark = [
    pytest.mark.own_process,  # the run is told to stop by a signal
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
]


class Images:
    class_names = ("thing",)

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Sample:
        return Sample(
            image=np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype=np.uint8),
            boxes=np.array([[1, 1, 5, 5]], dtype=np.float32),
            labels=np.zeros(1, dtype=np.int64),
            mask=None,
            image_id=index,
            path=Path(f"{index}.jpg"),
        )

    def labels_of(self, index: int) -> list[int]:
        return [0] if index < 3 else []

    def path_of(self, image_id: int) -> Path:
        return Path(f"{image_id}.jpg")


PLAIN: dict[str, Any] = {}
# Everything that goes by a draw's place in its epoch.
VARIED: dict[str, Any] = {
    "repeat_threshold": 0.6,
    "train_sizes": ((8, 8), (12, 8), (16, 16)),
    "views": 1,
    "augment": DetectionAugment(mosaic_probability=0.5, copy_paste_probability=0.5, mixup_probability=0.5),
}


def run(
    folder: Path, *extra: Once, workers: int, resume: Path | None = None, options: Mapping[str, Any] = PLAIN
) -> None:
    data = DataModule(train=Images(), val=Images(), size=(8, 8), batch_size=3, num_workers=workers, **options)
    task = ToyTask()
    trainer = toy_trainer(folder, EMA(decay=0.9), BestAndLast(), *extra, use_distributed_sampler=False)
    torch.manual_seed(5)
    trainer.fit(task, datamodule=data, ckpt_path=resume)


@pytest.mark.parametrize(("workers", "options"), [(0, PLAIN), (1, PLAIN), (1, VARIED)])
def test_resuming_within_an_epoch_changes_nothing(tmp_path: Path, workers: int, options: Mapping[str, Any]) -> None:
    run(tmp_path / "whole", workers=workers, options=options)
    told = Once("on_train_batch_start", epoch=1, batch=1, send=signal.SIGTERM)
    with pytest.raises(SystemExit):
        run(tmp_path / "cut", told, workers=workers, options=options)
    run(tmp_path / "cut", workers=workers, resume=tmp_path / "cut/checkpoints/last.ckpt", options=options)
    whole, cut = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "cut")
    )
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
