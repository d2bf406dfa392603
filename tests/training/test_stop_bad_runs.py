"""A run of a sweep that does worse than the others ends after an epoch, with its checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnv2dense.training.checkpointing import BestAndLast
from mnv2dense.training.stop_bad_runs import StopBadRuns
from tests.helpers.toy_run import ToyData, ToyTask, toy_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
]


def test_each_score_is_told_and_the_run_ends_where_the_answer_is_so(tmp_path: Path) -> None:
    told: list[tuple[int, float]] = []
    ended: list[int] = []

    def is_bad(epoch: int, score: float) -> bool:
        told.append((epoch, score))
        return epoch == 2

    task, kept = ToyTask(), BestAndLast(stop_on_signals=False)
    stops = StopBadRuns(monitor="val/AP", is_bad=is_bad, stopped=ended.append)
    toy_trainer(tmp_path, kept, stops, max_epochs=5, num_sanity_val_steps=0).fit(task, datamodule=ToyData())
    assert [epoch for epoch, _ in told] == [1, 2]
    assert [score for _, score in told] == pytest.approx(task.scores)
    assert ended == [2]
    assert kept.last_path.is_file()


def test_nobody_is_asked_after_the_last_epoch(tmp_path: Path) -> None:
    asked: list[int] = []
    stops = StopBadRuns(monitor="val/AP", is_bad=lambda epoch, _: bool(asked.append(epoch)), stopped=asked.append)
    toy_trainer(tmp_path, stops, max_epochs=2, enable_checkpointing=False).fit(ToyTask(), datamodule=ToyData())
    assert asked == [1]


def test_nobody_is_asked_before_the_trainer_may_end(tmp_path: Path) -> None:
    asked: list[int] = []
    ended: list[int] = []

    def is_bad(epoch: int, score: float) -> bool:
        asked.append(epoch)
        return True

    stops = StopBadRuns(monitor="val/AP", is_bad=is_bad, stopped=ended.append)
    trainer = toy_trainer(tmp_path, stops, max_epochs=4, min_epochs=2, enable_checkpointing=False)
    trainer.fit(ToyTask(), datamodule=ToyData())
    assert asked == ended == [2]
    assert trainer.current_epoch == 2
