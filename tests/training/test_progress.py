from __future__ import annotations

import io
import logging
import re
from pathlib import Path

import pytest
from rich.console import Console

from mnv2dense.training.checkpointing import BestAndLast
from mnv2dense.training.progress import ProgressLines
from tests.helpers.toy_run import ToyData, ToyTask, toy_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
]


def printed(folder: Path, *, terminal: bool, width: int = 40, **options: float) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=width)
    progress = ProgressLines(console=console, **options)  # type: ignore[arg-type]
    trainer = toy_trainer(folder, progress, BestAndLast(), max_epochs=2, enable_progress_bar=True)
    trainer.fit(ToyTask(), datamodule=ToyData())
    return out.getvalue()


def test_a_log_gets_one_whole_line_per_epoch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="mnv2dense")
    lines = printed(tmp_path, terminal=False).splitlines()
    assert [record.getMessage() for record in caplog.records if record.name.endswith(".progress")] == lines
    assert len(lines) == 2
    figures = r"loss \d+\.\d{4}  val/AP -\d+\.\d{4}  lr \S+  \d+\.\d images/s  \d+:\d\d left"
    assert re.fullmatch(rf"epoch 1/2  {figures}", lines[0])
    assert re.fullmatch(rf"epoch 2/2  {figures}", lines[1])
    assert lines[1].endswith(" 0:00 left")


def test_a_long_epoch_shows_life_in_a_log(tmp_path: Path) -> None:
    lines = printed(tmp_path, terminal=False, seconds_between_lines=0).splitlines()
    assert [line.split("  ")[1] for line in lines[:4]] == [f"batch {n}/4" for n in (1, 2, 3, 4)]


def test_a_terminal_gets_a_bar_and_keeps_the_lines(tmp_path: Path) -> None:
    out = printed(tmp_path, terminal=True, width=200, batches_between_updates=1)
    assert "4/4" in out
    assert "validation" in out
    assert len(re.findall(r"epoch \d/2  loss [^\n]*val/AP", out)) == 2


def test_all_processes_but_the_first_are_silent(tmp_path: Path) -> None:
    out = io.StringIO()
    progress = ProgressLines(console=Console(file=out))
    progress.disable()
    toy_trainer(tmp_path, progress, BestAndLast(), max_epochs=1, enable_progress_bar=True).fit(
        ToyTask(), datamodule=ToyData()
    )
    assert out.getvalue() == ""


def test_the_terminal_is_left_in_order_when_the_run_breaks(tmp_path: Path) -> None:
    class Breaks(ToyTask):
        def on_train_batch_end(self, *_: object) -> None:
            raise RuntimeError("broken")

    progress = ProgressLines(console=Console(file=io.StringIO(), force_terminal=True))
    trainer = toy_trainer(tmp_path, progress, BestAndLast(), enable_progress_bar=True)
    with pytest.raises(RuntimeError, match="broken"):
        trainer.fit(Breaks(), datamodule=ToyData())
    assert progress._bar is None
