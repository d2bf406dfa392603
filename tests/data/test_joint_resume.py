"""A joint run on two data sets with partial labels: interrupted within an epoch, resumed, and the same to the bit."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

import pytest
import torch

from mnv2dense.data.augment import DetectionAugment
from mnv2dense.data.datasets import CocoDetection, CocoMasks, JointDataset
from mnv2dense.data.module import DataModule
from mnv2dense.data.shapes import draw_shapes
from mnv2dense.losses import JointLoss, MultiBoxLoss, PixelCrossEntropy
from mnv2dense.metrics import CocoMeanAP, JointMetric, MeanIoU
from mnv2dense.models.dense_model import build_model
from mnv2dense.training import Task
from mnv2dense.training.checkpointing import BestAndLast
from mnv2dense.training.ema import EMA
from tests.helpers.joint import joint_model
from tests.helpers.toy_run import Once, toy_trainer

pytestmark = [
    pytest.mark.own_process,  # the run is told to stop by a signal
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
]


def train(folder: Path, drawn: Path, *extra: Once, workers: int, resume: Path | None = None) -> None:
    boxes = CocoDetection(root=drawn, split="train", limit=7)
    parts = {"boxes": boxes, "masks": CocoMasks(root=drawn, split="train")}
    data = JointDataset(parts=parts, draws={"masks": 1.5})
    module = DataModule(
        train=data, val=data, augment=DetectionAugment(), size=(64, 64), batch_size=4, num_workers=workers, max_boxes=10
    )
    config = {**joint_model().config, "class_names": list(data.class_names), "size": [64, 64]}
    config.pop("category_ids")
    torch.manual_seed(3)
    task = Task(
        model=build_model(config),
        loss=JointLoss(parts={"boxes": MultiBoxLoss(), "masks": PixelCrossEntropy()}, weights="uncertainty"),
        metric=JointMetric(parts={"boxes": CocoMeanAP(), "masks": MeanIoU()}),
        optimizer=partial(torch.optim.SGD, lr=0.01, momentum=0.9),
    )
    callbacks = [EMA(decay=0.9), BestAndLast(monitor="val/mean"), *extra]
    trainer = toy_trainer(folder, *callbacks, use_distributed_sampler=False, max_epochs=2)
    torch.manual_seed(5)
    trainer.fit(task, datamodule=module, ckpt_path=resume)


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    kept = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    momenta = kept["optimizer_states"][0]["state"]
    found = {**kept["state_dict"], **{f"momentum {key}": each["momentum_buffer"] for key, each in momenta.items()}}
    return {name: tensor for name, tensor in found.items() if isinstance(tensor, torch.Tensor)}


@pytest.mark.parametrize("workers", [0, 1])
def test_resuming_within_an_epoch_changes_nothing(tmp_path: Path, workers: int) -> None:
    drawn = draw_shapes(tmp_path / "shapes", train=12, val=1, size=64)
    train(tmp_path / "whole", drawn, workers=workers)
    told = Once("on_train_batch_start", epoch=1, batch=1, send=signal.SIGTERM)
    with pytest.raises(SystemExit):
        train(tmp_path / "cut", drawn, told, workers=workers)
    cut_at = torch.load(tmp_path / "cut/checkpoints/last.ckpt", weights_only=True)["global_step"]
    train(tmp_path / "cut", drawn, workers=workers, resume=tmp_path / "cut/checkpoints/last.ckpt")
    whole, cut = tensors_of(tmp_path / "whole"), tensors_of(tmp_path / "cut")
    assert torch.load(tmp_path / "cut/checkpoints/last.ckpt", weights_only=True)["global_step"] > cut_at > 3
    assert whole.keys() == cut.keys()
    assert {name.split(".")[0] for name in whole} >= {"model", "loss"}
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
