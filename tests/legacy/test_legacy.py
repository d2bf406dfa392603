"""What version 0.1 wrote is read, and answers as it did then; README.md in v0.1 says how it was made.

On the processor that made them not a bit differs, which ``python tests/legacy/compare.py`` shows; another processor may
round otherwise, so here floats may part by rounding.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.documented import ROOT
from tests.helpers.tiny import command
from tests.legacy.compare import TASKS, artefacts_of
from tests.legacy.near import FILES, check

RUNTIMES = {
    ".onnx": "onnxruntime",
    ".xml": "openvino",
    ".pte": "executorch",
    ".tflite": "ai_edge_litert",
    ".mlpackage": "coremltools",
}
MODELS = [pair for pair in artefacts_of(FILES) if pair[0].suffix not in RUNTIMES]


@pytest.mark.parametrize("pair", MODELS, ids=lambda pair: f"{pair[0].parent.name}-{pair[0].name}")
def test_a_model_of_before_answers_as_then(pair: tuple[Path, Path]) -> None:
    check(*pair)


@pytest.mark.parametrize("suffix", [pytest.param(key, marks=pytest.mark.needs(name)) for key, name in RUNTIMES.items()])
def test_exported_files_of_before_answer_as_then(suffix: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.legacy.near", suffix], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "files answer as they did" in done.stdout


@pytest.fixture
def run(request: pytest.FixtureRequest, place: None) -> Path:
    """An interrupted run of before, as it lay there."""
    shutil.copytree(FILES / request.param / "interrupted", request.param)
    checkpoints = Path(request.param, "checkpoints")
    shutil.copyfile(checkpoints / "last.ckpt", checkpoints / "best.ckpt")
    return Path(request.param)


@pytest.mark.slow
@pytest.mark.parametrize("run", TASKS, indirect=True)
def test_a_run_of_before_is_scored_and_gone_on_with(run: Path) -> None:
    kept = FILES / run.name
    scored = command("evaluate", f"checkpoint={run}", "run_dir=scored", "device=cpu")
    assert scored.code == 0, scored.err
    near(kept / "evaluated.json", Path("scored/metrics.json"))
    arguments = (kept / "arguments.txt").read_text().splitlines()
    resumed = command("train", *arguments, f"resume={run}", "run_dir=resumed")
    assert resumed.code == 0, resumed.err
    near(kept / "finished/metrics.json", Path("resumed/metrics.json"))


def near(before: Path, now: Path) -> None:
    old, new = json.loads(before.read_text()), json.loads(now.read_text())
    assert old.keys() == new.keys()
    for name, value in old.items():
        # Trained on another CPU: of eight images a single box decides what a class gets.
        assert new[name] == pytest.approx(value, abs=0.05 if "/" in name else 0.02), name
