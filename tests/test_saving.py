from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from mnv2dense.ema import EMA
from mnv2dense.saving import BestAndLast
from tests.toy_run import Once, ToyData, ToyTask, toy_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
]


def run(folder: Path, *extra: pl.Callback, resume: Path | None = None, **options: Any) -> ToyTask:
    task = ToyTask()
    trainer = toy_trainer(folder, EMA(decay=0.9), BestAndLast(), *extra, **options)
    torch.manual_seed(5)  # dropout's
    trainer.fit(task, datamodule=ToyData(), ckpt_path=resume)
    return task


def contents(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def same(left: Any, right: Any) -> bool:
    """Equal to the last bit, through nested containers."""
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def assert_same_run(left: Path, right: Path) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        one, other = contents(left / "checkpoints" / name), contents(right / "checkpoints" / name)
        for part in (
            "state_dict",
            "raw_state_dict",
            "optimizer_states",
            "lr_schedulers",
            "callbacks",
            "global_step",
        ):
            assert same(one[part], other[part]), f"{name}: {part}"


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    ("hook", "epoch", "batch"),
    [
        ("on_train_batch_start", 0, 0),
        ("on_train_batch_start", 1, 1),
        ("on_train_batch_start", 1, 2),
        ("on_train_batch_start", 1, 3),  # the last: acted upon in the validation that follows
        ("on_validation_start", 0, None),
        ("on_train_epoch_end", 1, None),
    ],
)
def test_a_run_that_was_told_to_stop_resumes_as_if_it_never_had(
    tmp_path: Path, hook: str, epoch: int, batch: int | None, accumulate: int
) -> None:
    whole = run(tmp_path / "whole", accumulate_grad_batches=accumulate)
    with pytest.raises(SystemExit) as stopped:
        told = Once(hook, epoch=epoch, batch=batch, send=signal.SIGTERM)
        run(tmp_path / "cut", told, accumulate_grad_batches=accumulate)
    assert stopped.value.code == 143
    resumed = run(
        tmp_path / "cut", resume=tmp_path / "cut/checkpoints/last.ckpt", accumulate_grad_batches=accumulate
    )
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
    assert resumed.scores == whole.scores[-len(resumed.scores) :]
    assert same(resumed.state_dict(), whole.state_dict())
