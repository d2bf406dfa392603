from __future__ import annotations

import itertools
import os
import signal
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, Literal

import pytest
import pytorch_lightning as pl
import torch

from mnv2dense.reporting.run_folder import RunFolder
from mnv2dense.training.checkpointing import BestAndLast
from mnv2dense.training.ema import EMA
from tests.helpers.toy_run import Once, ToyData, ToyTask, toy_trainer

pytestmark = [
    pytest.mark.own_process,  # runs are told to stop by signals
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
]


def run(folder: Path, *extra: pl.Callback, resume: Path | None = None, **options: object) -> ToyTask:
    task = ToyTask()
    trainer = toy_trainer(folder, EMA(decay=0.9), BestAndLast(), *extra, **options)
    torch.manual_seed(5)  # dropout's
    trainer.fit(task, datamodule=ToyData(), ckpt_path=resume)
    return task


def contents(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def same(left: object, right: object) -> bool:
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
    told = Once(hook, epoch=epoch, batch=batch, send=signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path / "cut", told, accumulate_grad_batches=accumulate)
    assert stopped.value.code == 143
    resumed = run(tmp_path / "cut", resume=tmp_path / "cut/checkpoints/last.ckpt", accumulate_grad_batches=accumulate)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
    assert resumed.scores == whole.scores[-len(resumed.scores) :]
    assert same(resumed.state_dict(), whole.state_dict())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return folder


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGUSR1, 138)])
def test_ctrl_c_and_slurms_warning_end_the_run_like_sigterm(
    tmp_path: Path, whole: Path, caplog: pytest.LogCaptureFixture, sent: signal.Signals, code: int
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, Once("on_train_batch_start", epoch=1, batch=1, send=sent))
    assert stopped.value.code == code
    last = tmp_path / "checkpoints/last.ckpt"
    assert f"Stopped by {sent.name}; resume={last} goes on from here" in caplog.text
    run(tmp_path, resume=last)
    assert_same_run(whole, tmp_path)


def test_ctrl_c_twice_ends_at_once_without_saving(tmp_path: Path) -> None:
    class Impatient(pl.Callback):
        def on_train_batch_start(self, *_: object) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(SystemExit) as stopped:  # Lightning's way of ending on a KeyboardInterrupt
        run(tmp_path, Impatient())
    assert stopped.value.code == 1
    assert not (tmp_path / "checkpoints").exists()


class Writing:
    """A file that sends signals to this process while torch writes it."""

    def __init__(self, file: BinaryIO, signals: list[signal.Signals]) -> None:
        self.file, self.signals = file, signals

    def write(self, content: bytes) -> int:
        while self.signals:
            os.kill(os.getpid(), self.signals.pop())
        return self.file.write(content)

    def flush(self) -> None:
        self.file.flush()


@pytest.fixture
def told_in_a_save(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """From the n-th time on that ``last.ckpt`` is written: signals in the middle of it."""
    save = torch.save

    def tell(*signals: signal.Signals, time: int) -> None:
        times = itertools.count(1)

        def saving(content: object, file: BinaryIO) -> None:
            now = "last.ckpt" in file.name and next(times) == time
            save(content, Writing(file, list(signals)) if now else file)

        monkeypatch.setattr("mnv2dense.training.checkpoint_io.torch.save", saving)

    return tell


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ((signal.SIGTERM,), 143),
        ((signal.SIGINT,), 130),
        ((signal.SIGUSR1,), 138),
        ((signal.SIGINT, signal.SIGINT), 130),
    ],
)
@pytest.mark.parametrize("epoch", [1, 3])
def test_a_signal_in_a_save_ends_the_run_when_the_file_is_whole_in_the_last_epoch_too(
    tmp_path: Path,
    whole: Path,
    told_in_a_save: Callable[..., None],
    epoch: int,
    signals: tuple[signal.Signals, ...],
    code: int,
) -> None:
    """A second Ctrl-C there used to abort the process, as torch writes in C++, where nothing may be raised."""
    told_in_a_save(*signals, time=epoch)
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path)
    assert stopped.value.code == code
    last = tmp_path / "checkpoints/last.ckpt"
    assert contents(last)["callbacks"]["BestAndLast"]["epoch"] >= epoch - 1
    assert [path.name for path in last.parent.iterdir() if path.name.startswith(".")] == []
    if epoch < 3:
        run(tmp_path, resume=last)
    assert_same_run(whole, tmp_path)


def test_a_signal_in_a_save_within_an_epoch_ends_the_run_there(
    tmp_path: Path, told_in_a_save: Callable[..., None]
) -> None:
    told_in_a_save(signal.SIGINT, signal.SIGINT, time=1)
    with pytest.raises(SystemExit) as stopped:
        toy_trainer(tmp_path, BestAndLast(every_n_batches=2)).fit(ToyTask(), datamodule=ToyData())
    assert stopped.value.code == 130
    state = contents(tmp_path / "checkpoints/last.ckpt")["callbacks"]["BestAndLast"]
    assert (state["epoch"], state["batches"]) == (0, 2)


def test_the_signals_go_back_to_who_had_them(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    run(tmp_path, max_epochs=1)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before


@pytest.mark.parametrize("breaks", [False, True])
def test_going_on_changes_no_warnings_of_the_process(tmp_path: Path, breaks: bool) -> None:
    """The loader starts within an epoch, which Lightning would warn of; that is held back until the first batch."""
    with pytest.raises(SystemExit):
        run(tmp_path, Once("on_train_batch_start", epoch=1, batch=1, send=signal.SIGTERM))

    class Looks(pl.Callback):
        while_training: Sequence[object] = ()

        def on_train_start(self, *_: object) -> None:
            if breaks:
                raise Killed

        def on_train_batch_end(self, *_: object) -> None:
            self.while_training = list(warnings.filters)

    before, looks = list(warnings.filters), Looks()
    with pytest.raises(Killed) if breaks else nullcontext():
        run(tmp_path, looks, resume=tmp_path / "checkpoints/last.ckpt")
    assert list(warnings.filters) == before
    assert breaks or looks.while_training == before


class Killed(Exception):  # noqa: N818 - stands in for kill -9: nothing gets to run after it
    pass


class Kill(pl.Callback):
    """The process is gone in the middle of batch 3 of epoch 1."""

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        if (trainer.current_epoch, batch_idx) == (1, 3):
            raise Killed


@pytest.mark.parametrize(("every_n_batches", "batches"), [(None, 0), (2, 2)])
def test_a_run_that_was_killed_resumes_from_the_last_checkpoint_it_wrote(
    tmp_path: Path, whole: Path, every_n_batches: int | None, batches: int
) -> None:
    saving = BestAndLast(every_n_batches=every_n_batches)
    trainer = toy_trainer(tmp_path, EMA(decay=0.9), saving, Kill())
    task = ToyTask()
    torch.manual_seed(5)
    with pytest.raises(Killed):
        trainer.fit(task, datamodule=ToyData())
    state = contents(saving.last_path)["callbacks"]["BestAndLast"]
    assert (state["epoch"], state["batches"]) == (1, batches)
    run(tmp_path, resume=saving.last_path)
    assert_same_run(whole, tmp_path)


def test_a_run_limited_in_steps_resumes_exactly_within_an_epoch(tmp_path: Path) -> None:
    limits = {"max_steps": 10, "max_epochs": -1}
    run(tmp_path / "whole", **limits)
    with pytest.raises(SystemExit):
        run(tmp_path / "cut", Once("on_train_batch_start", epoch=1, batch=1, send=signal.SIGTERM), **limits)
    run(tmp_path / "cut", resume=tmp_path / "cut/checkpoints/last.ckpt", **limits)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_a_run_limited_in_steps_warns_that_an_epochs_end_is_no_exact_place_to_resume(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, max_epochs=1)
    run(tmp_path, resume=tmp_path / "checkpoints/last.ckpt", max_steps=6, max_epochs=-1)
    assert "trainer.max_steps=6" in caplog.text


def test_the_best_epoch_stays_when_later_ones_are_worse_or_nan(tmp_path: Path) -> None:
    class Scored(ToyTask):
        def on_validation_epoch_end(self) -> None:
            self.log("val/AP", [0.3, 0.5, float("nan"), 0.4][self.trainer.current_epoch])

    saving = BestAndLast()
    toy_trainer(tmp_path, saving, max_epochs=4).fit(Scored(), datamodule=ToyData())
    assert saving.best_score == pytest.approx(0.5)
    assert saving.best_epoch == 1
    assert contents(saving.best_path)["epoch"] == 1
    assert contents(saving.last_path)["epoch"] == 3
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def test_less_may_be_better(tmp_path: Path) -> None:
    class Scored(ToyTask):
        def on_validation_epoch_end(self) -> None:
            self.log("val/loss", [0.3, 0.2, 0.4][self.trainer.current_epoch])

    saving = BestAndLast(monitor="val/loss", mode="min")
    toy_trainer(tmp_path, saving).fit(Scored(), datamodule=ToyData())
    assert saving.best_epoch == 1


@pytest.mark.parametrize(
    ("monitor", "mode", "scores", "best"),
    [
        ("val/AP", "min", [-1, 5, 2, -1], 2),  # -1 is "cannot tell", not the lowest error
        ("val/AP", "max", [-1, -3, -1, -5], 1),
        ("val/AP", "min", [-1, -1, -1, -1], 0),
        ("val/loss", "min", [5, -1, 2, 3], 1),
    ],
)
def test_a_score_that_cannot_be_told_is_the_best_only_where_there_is_no_other(
    monitor: str, mode: Literal["min", "max"], scores: list[float], best: int
) -> None:
    saving = BestAndLast(monitor=monitor, mode=mode)
    for epoch, score in enumerate(scores):
        trainer: Any = SimpleNamespace(callback_metrics={monitor: score}, current_epoch=epoch, fast_dev_run=True)
        saving._is_best(trainer)
    assert saving.best_epoch == best


def test_another_score_finds_its_own_best_in_a_run_that_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Scored(ToyTask):
        def on_validation_epoch_end(self) -> None:
            self.log_dict({"val/AP": 0.3, "val/error": [0.9, 0.8, 0.7][self.trainer.current_epoch]})

    def trained(saving: BestAndLast, **options: object) -> BestAndLast:
        resume = saving.last_path if saving.folder else None
        toy_trainer(tmp_path, saving, **options).fit(Scored(), datamodule=ToyData(), ckpt_path=resume)
        return saving

    trained(BestAndLast(), max_epochs=2)
    now = trained(BestAndLast(monitor="val/error", mode="min", folder=tmp_path / "checkpoints"))
    # 0.7 is more than the AP of 0.3, which was the best before.
    assert (now.best_score, now.best_epoch) == (pytest.approx(0.7), 2)
    assert contents(now.best_path)["epoch"] == 2
    assert "chosen by val/error (min) from here on, by val/AP (max) before" in caplog.text


def test_the_final_epoch_is_saved_also_when_it_is_not_its_turn(tmp_path: Path) -> None:
    saving = BestAndLast(every_n_epochs=2)
    toy_trainer(tmp_path, saving, max_epochs=3).fit(ToyTask(), datamodule=ToyData())
    assert contents(saving.last_path)["epoch"] == 2


def test_a_run_that_goes_on_in_another_folder_takes_its_checkpoints_along(tmp_path: Path, whole: Path) -> None:
    run(tmp_path, resume=whole / "checkpoints/last.ckpt", max_epochs=3)
    for name in ("best.ckpt", "last.ckpt"):  # the last too, though there was nothing left to train
        assert (tmp_path / "checkpoints" / name).read_bytes() == (whole / "checkpoints" / name).read_bytes()


def test_a_run_that_was_killed_in_its_first_save_begins_again_in_a_clean_folder(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".last.ckpt.4711.new").write_bytes(b"half")
    assert not RunFolder(tmp_path).holds_a_run
    run(tmp_path, max_epochs=1)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert RunFolder(tmp_path).holds_a_run


def test_a_metric_nobody_logs_is_named_beside_those_that_are(tmp_path: Path) -> None:
    saving = BestAndLast(monitor="val/mIoU")
    with pytest.raises(ValueError, match=r"monitor='val/mIoU': not among the logged metrics \(.*val/AP"):
        toy_trainer(tmp_path, saving).fit(ToyTask(), datamodule=ToyData())


def test_data_that_cannot_start_within_an_epoch_are_refused_a_checkpoint_from_there(tmp_path: Path) -> None:
    class Plain(ToyData):
        resume_at = None  # type: ignore[assignment]

    with pytest.raises(SystemExit):
        run(tmp_path, Once("on_train_batch_start", epoch=1, batch=1, send=signal.SIGTERM))
    trainer = toy_trainer(tmp_path, EMA(decay=0.9), BestAndLast())
    with pytest.raises(TypeError, match=r"within epoch 1, after 2 batches, and Plain has no resume_at"):
        trainer.fit(ToyTask(), datamodule=Plain(), ckpt_path=tmp_path / "checkpoints/last.ckpt")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "best"}, "mode='best'"),
        ({"every_n_epochs": 0}, "every_n_epochs=0"),
        ({"every_n_batches": -1}, "every_n_batches=-1"),
    ],
)
def test_impossible_settings_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BestAndLast(**options)


def test_a_folder_that_is_moved_in_the_middle_has_a_best_and_a_last_again(
    tmp_path: Path, whole: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Mover(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.current_epoch == 1:
                (tmp_path / "checkpoints").rename(tmp_path / "moved")

    run(tmp_path, Mover())
    assert (tmp_path / "moved" / "best.ckpt").is_file()
    assert same(
        contents(tmp_path / "checkpoints/last.ckpt")["state_dict"],
        contents(whole / "checkpoints/last.ckpt")["state_dict"],
    )
    assert (tmp_path / "checkpoints/best.ckpt").is_file()
    assert "best.ckpt: moved or deleted in the middle of the run; this epoch takes its place" in caplog.text
