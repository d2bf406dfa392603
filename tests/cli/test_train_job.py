"""What tools/train.py says of a run that is told to stop."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from mnv2dense.cli.train_job import _ways_on
from mnv2dense.reporting.run_folder import RunFolder

TYPED = [
    *("tools/train.py", "--config-dir", "my conf", "data=coco", "data.root=my data", "seed=1,2"),
    *("run_dir=sweep", "resume=old", "-m"),
]


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        (RunMode.RUN, "--config-dir 'my conf' data=coco 'data.root=my data' seed=1,2 run_dir=sweep -m"),
        # Of one run of several, in Hydra's words, which it takes too.
        (RunMode.MULTIRUN, "--config-dir 'my conf' data=coco 'data.root='\"'\"'my data'\"'\"'' seed=2"),
    ],
)
def test_a_run_that_is_told_to_stop_says_the_command_that_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, mode: RunMode, options: str
) -> None:
    task = ["data=coco", "data.root='my data'", "seed=2", "run_dir='sweep'"]
    hydra = SimpleNamespace(mode=mode, overrides=SimpleNamespace(task=task))
    monkeypatch.setattr(HydraConfig, "get", lambda: hydra)
    monkeypatch.setattr(sys, "argv", TYPED)
    monkeypatch.chdir(tmp_path)
    folder = RunFolder("run")
    for saved in (False, True):  # nothing is said where there is nothing to go on from
        if saved:
            (folder.path / "checkpoints").mkdir()
            (folder.path / "checkpoints" / "last.ckpt").touch()
        caplog.clear()
        with caplog.at_level(logging.WARNING), pytest.raises(SystemExit), _ways_on(folder, {}):
            raise SystemExit(130)
        said = (
            f"To go on:\n  python tools/train.py {options} resume=run\n"
            "To score what is there:\n  python tools/evaluate.py checkpoint=run"
        )
        assert caplog.messages == ([said] if saved else [])
