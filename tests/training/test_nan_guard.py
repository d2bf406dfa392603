from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mnv2dense.training.checkpointing import BestAndLast
from mnv2dense.training.freeze import Freeze, freeze
from mnv2dense.training.nan_guard import NaNGuard, NonFiniteLossError
from mnv2dense.types import Batch
from tests.helpers.toy_run import ToyData, ToyTask, toy_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
]


class Breaks(ToyTask):
    """One of the loss's terms is infinite at batch 2 of epoch 1."""

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        step = super().training_step(batch, batch_idx)
        if (self.trainer.current_epoch, batch_idx) == (1, 2):
            broken = step["loss"] * float("inf")
            return {
                "loss": step["loss"] + broken,
                "terms": {"boxes": step["loss"].detach(), "classes": broken.detach()},
            }
        return step


def test_a_loss_that_is_not_finite_stops_the_run_naming_step_terms_images_and_cure(tmp_path: Path) -> None:
    saving = BestAndLast()
    trainer = toy_trainer(tmp_path, NaNGuard(), saving)
    with pytest.raises(NonFiniteLossError) as raised:
        trainer.fit(Breaks(), datamodule=ToyData())
    message = str(raised.value)
    assert "step 7 (epoch 1, process 0): loss=inf, boxes=" in message
    assert "classes=inf" in message
    # Batch 2 of three images each.
    assert "Images of that batch: pictures/6.jpg, pictures/7.jpg, pictures/8.jpg. " in message
    assert "lower the learning rate (now " in message
    assert torch.load(saving.last_path, weights_only=True)["epoch"] == 0  # the last good one


def test_values_still_on_their_way_are_looked_at_before_a_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a device that is far behind: nothing ever seems to have arrived.
    monkeypatch.setattr(NaNGuard, "_may_look", lambda self, distributed: False)
    trainer = toy_trainer(tmp_path, NaNGuard(), BestAndLast(every_n_batches=3))
    with pytest.raises(NonFiniteLossError, match=r"step 7 .*pictures/6\.jpg, pictures/7\.jpg, pictures/8\.jpg"):
        trainer.fit(Breaks(), datamodule=ToyData())


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.stem = layer(3)
        self.backbone.blocks = nn.ModuleList([layer(4), layer(4)])
        self.head = layer(4)

    def forward(self, images: Tensor) -> Tensor:
        backbone = self.backbone
        return self.head(backbone.blocks[1](backbone.blocks[0](backbone.stem(images))))


def layer(channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, 4, 1), nn.BatchNorm2d(4))


class Fine(ToyTask):
    def __init__(self) -> None:
        super().__init__()
        self.model = Network()


def changed(before: dict[str, Tensor], after: dict[str, Tensor], part: str) -> bool:
    return any(not torch.equal(before[name], after[name]) for name in before if name.startswith(f"model.{part}"))


@pytest.mark.parametrize(
    ("backbone", "still"),
    [
        (True, {"backbone.stem", "backbone.blocks.0", "backbone.blocks.1"}),
        (1, {"backbone.stem", "backbone.blocks.0"}),
        (0, {"backbone.stem"}),
        (False, set()),
    ],
)
def test_frozen_layers_stay_as_they_are_statistics_included(
    tmp_path: Path, backbone: bool | int, still: set[str]
) -> None:
    task = Fine()
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    toy_trainer(tmp_path, Freeze(backbone=backbone), BestAndLast()).fit(task, datamodule=ToyData())
    after = task.state_dict()
    parts = {"backbone.stem", "backbone.blocks.0", "backbone.blocks.1", "head"}
    assert {part for part in parts if not changed(before, after, part)} == still


def test_batch_norms_may_keep_their_statistics_while_their_layers_learn(tmp_path: Path) -> None:
    task = Fine()
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    trainer = toy_trainer(tmp_path, Freeze(backbone=False, batch_norm=True), BestAndLast())
    trainer.fit(task, datamodule=ToyData())
    after = task.state_dict()
    assert torch.equal(before["model.backbone.stem.1.running_mean"], after["model.backbone.stem.1.running_mean"])
    assert not torch.equal(before["model.backbone.stem.1.weight"], after["model.backbone.stem.1.weight"])
    assert not torch.equal(before["model.head.1.running_mean"], after["model.head.1.running_mean"])


def test_more_blocks_than_there_are_cannot_be_frozen() -> None:
    with pytest.raises(ValueError, match="backbone=3: this backbone has 2 blocks"):
        freeze(Network().backbone, 3)
    with pytest.raises(ValueError, match="backbone=-1"):
        Freeze(backbone=-1)
