"""A run that SLURM warns saves, ends, and asks for its job to be queued again."""

from __future__ import annotations

import logging
import signal
from pathlib import Path

import pytest

from mnv2dense.training.checkpointing import BestAndLast
from mnv2dense.training.requeue import Requeue
from tests.helpers.toy_run import Once, ToyData, ToyTask, toy_trainer

pytestmark = [
    pytest.mark.own_process,  # the run is told to stop by a signal
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that has what scontrol was asked, and whether the checkpoint was there by then."""
    scontrol, told = tmp_path / "bin" / "scontrol", tmp_path / "told"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" $(ls {tmp_path}/run/checkpoints) >> {told}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(scontrol.parent), prepend=":")
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    return told


def stopped(folder: Path, requeue: Requeue, *, by: signal.Signals) -> SystemExit:
    told = Once("on_train_batch_start", epoch=1, batch=1, send=by)
    with pytest.raises(SystemExit) as ended:
        toy_trainer(folder, requeue, BestAndLast(), told).fit(ToyTask(), datamodule=ToyData())
    return ended.value


def test_slurms_warning_queues_the_job_again_once_the_checkpoint_is_there(
    tmp_path: Path, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    requeue = Requeue()
    error = stopped(tmp_path / "run", requeue, by=signal.SIGUSR1)
    assert error.code == 128 + signal.SIGUSR1
    requeue.ask(error)  # the command asks for those that are stopped while they are scored
    assert asked.read_text().splitlines() == ["requeue 4711 best.ckpt last.ckpt"]


def test_of_an_array_the_one_job_is_queued_again(asked: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4712")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "4700")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    Requeue().ask(SystemExit(128 + signal.SIGUSR1))
    assert asked.read_text().split() == ["requeue", "4700_3"]


def test_whoever_ends_the_job_or_stands_outside_of_slurm_gets_no_new_one(
    tmp_path: Path, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Requeue().ask(SystemExit(128 + signal.SIGUSR1))
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    stopped(tmp_path / "run", Requeue(), by=signal.SIGTERM)  # scancel
    assert not asked.exists()


def test_a_cluster_that_refuses_is_said_with_what_to_do(
    tmp_path: Path, asked: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    (tmp_path / "bin" / "scontrol").write_text("#!/bin/sh\necho 'Requested operation is disabled' >&2\nexit 1\n")
    with caplog.at_level(logging.WARNING):
        Requeue().ask(SystemExit(128 + signal.SIGUSR1))
    assert caplog.messages == ["scontrol requeue 4711: Requested operation is disabled; submit the same command again"]
