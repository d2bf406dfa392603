"""A pytest plugin: what takes long to make and is only looked at is made once for all processes of a test session."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from filelock import FileLock

from tests.helpers.tiny import TINY, Outcome, command

# The session's folder; pytest-xdist's workers and the processes of tests inherit it.
FOLDER = "MNV2DENSE_TEST_SESSION"
_OWN = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    if FOLDER not in os.environ:
        config.stash[_OWN] = Path(tempfile.mkdtemp(prefix="mnv2dense-tests-"))
        os.environ[FOLDER] = str(config.stash[_OWN])


def pytest_unconfigure(config: pytest.Config) -> None:
    if _OWN in config.stash:
        shutil.rmtree(config.stash[_OWN], ignore_errors=True)
        del os.environ[FOLDER]


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first to ask fills; the others wait for it."""
    folder = Path(os.environ[FOLDER], name)
    done = folder.with_suffix(".done")
    with FileLock(folder.with_suffix(".lock")):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of one who failed
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


class SmallRun(NamedTuple):
    """Two epochs of :data:`TINY`: its folder, the cache with its data, and what it printed. Not to be written to."""

    folder: Path
    cache: Path
    outcome: Outcome


def small_run(task: str) -> SmallRun:
    """The run of a task that every test may look at."""

    def train(folder: Path) -> None:
        (folder / "cache").mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MNV2DENSE_CACHE", str(folder / "cache"))
            patch.chdir(folder)
            for variable in ("MNV2DENSE_RUNFOLDER", "HYDRA_FULL_ERROR", "PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
                patch.setenv(variable, "1")  # so that it is put back
                patch.delenv(variable)
            outcome = command("train", f"task={task}", *TINY, "trainer.max_epochs=2", f"run_dir={folder / 'run'}")
        assert outcome.code == 0, outcome.err
        (folder / "out.txt").write_text(outcome.out, encoding="utf-8")
        (folder / "err.txt").write_text(outcome.err, encoding="utf-8")

    folder = made_once(f"run-{task}", train)
    out, err = ((folder / f"{name}.txt").read_text(encoding="utf-8") for name in ("out", "err"))
    return SmallRun(folder / "run", folder / "cache", Outcome(0, out, err))
