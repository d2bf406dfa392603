"""Something of a run is killed in the middle of an epoch: it goes on by itself, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers.tiny import TINY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="a process does not take another's place on Windows"),
]

ROOT = Path(__file__).parents[2]
TRAIN = str(ROOT / "tools" / "train.py")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1")

# A classifier, for its dropout: each process has to go on with random numbers of its own.
COMMON = (
    *(option for option in TINY if not option.startswith(("data.", "trainer.max_epochs"))),
    *("task=classification", "resume=auto", "logger=none", "trainer.max_epochs=2"),
    *("data.train_images=24", "data.val_images=4", "data.batch_size=4", "callbacks.checkpoints.every_n_batches=1"),
)


def run(here: Path, cache: Path, *command: str) -> str:
    """What it printed."""
    done = subprocess.run(
        [*command, *COMMON],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MNV2DENSE_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / "checkpoints" / name, weights_only=True)["state_dict"]
    return found


@pytest.mark.parametrize(
    ("what", "command"),
    [
        ("process", (*TORCHRUN, TRAIN, "data.num_workers=0", "trainer.devices=2")),
        ("worker", (sys.executable, TRAIN, "data.num_workers=1")),
    ],
)
def test_a_run_of_which_something_is_killed_ends_with_the_weights_of_one_left_in_peace(
    tmp_path: Path, cache: Path, what: str, command: tuple[str, ...]
) -> None:
    killed = ("+callbacks.killed._target_=tests.helpers.killed.Killed", f"+callbacks.killed.what={what}")
    said = run(tmp_path, cache, *command, "run_dir=killed", *killed, "+callbacks.killed.note=note")
    assert (tmp_path / "note").is_file()
    assert said.count("the folder holds no checkpoint yet: from the start") == 1
    assert said.count("resume=auto: going on") == 1
    assert (tmp_path / "killed" / "metrics.json").is_file()
    run(tmp_path, cache, *command, "run_dir=whole")
    for name in ("last.ckpt", "best.ckpt"):
        whole, after = weights(tmp_path / "whole", name), weights(tmp_path / "killed", name)
        assert whole.keys() == after.keys()
        assert all(torch.equal(whole[key], after[key]) for key in whole)
