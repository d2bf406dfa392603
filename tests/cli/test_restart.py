"""A loader's worker that is killed: the command begins again, but not for ever, and not where others watch over it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mnv2dense.cli.restart import begun_again
from mnv2dense.reporting.run_folder import RunFolder

KILLED = "DataLoader worker (pid 4711) is killed by signal: Killed. "
GONE = "DataLoader worker (pid(s) 4711, 4712) exited unexpectedly"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a process does not take another's place on Windows")


class Started(Exception):  # noqa: N818 - it is no error
    """Stands for the new process, which never comes back."""


def start(program: str, command: Sequence[str]) -> None:
    assert program == sys.executable
    assert command == sys.orig_argv
    raise Started


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    for name in ("MNV2DENSE_RESTARTS", "WORLD_SIZE", "SLURM_NTASKS", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MNV2DENSE_RESTARTS", "0 0")  # what is set there is taken away after the test
    monkeypatch.setattr("mnv2dense.cli.restart.logging.shutdown", lambda: None)
    return RunFolder(tmp_path / "run")


def dies(folder: RunFolder, said: str = KILLED) -> type[BaseException]:
    with pytest.raises((Started, RuntimeError)) as ended, begun_again(folder, start=start):
        raise RuntimeError(said)
    return ended.type


@pytest.mark.own_process  # it lets go of SIGCHLD
@pytest.mark.parametrize("said", [KILLED, GONE])
def test_the_command_begins_again_where_a_worker_died(folder: RunFolder, said: str) -> None:
    assert dies(folder, said) is Started


def test_other_errors_are_what_they_were(folder: RunFolder) -> None:
    assert dies(folder, "CUDA out of memory") is RuntimeError


@pytest.mark.own_process
def test_it_gives_up_after_three_times_unless_there_is_a_new_checkpoint(folder: RunFolder) -> None:
    assert [dies(folder) for _ in range(4)] == [Started, Started, Started, RuntimeError]
    (folder.path / "checkpoints").mkdir()
    (folder.path / "checkpoints" / "last.ckpt").touch()
    assert dies(folder) is Started


@pytest.mark.parametrize(("name", "value"), [("WORLD_SIZE", "2"), ("SLURM_NTASKS", "4"), ("TORCHELASTIC_RUN_ID", "x")])
def test_what_others_start_is_theirs_to_start_again(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert dies(folder) is RuntimeError
