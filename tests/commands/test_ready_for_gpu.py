"""benchmarks/ready_for_gpu.py, at a size for CPUs: what it prints is complete, and its verdict follows the figures."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The script's names; it is imported from its own folder, as when it is run."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return runpy.run_path(str(BENCHMARKS / "ready_for_gpu.py"), run_name="ready_for_gpu")


def test_the_verdict_names_who_waits_and_the_slowest_part(script: dict[str, Any]) -> None:
    shares = {"reading": 0.5, "augmenting": 0.3, "resizing and collating": 0.2}
    assert script["verdict"](900.0, 1000.0, shares, 8) == "Loading keeps up: 1000 images/s against 900 learnt."
    said = script["verdict"](2500.0, 1000.0, shares, 8)
    assert re.match(
        r"Learning waits for loading: 2500 .* 1000 .* 8 workers, .* reading takes 50%.* 2\.5 times the", said
    )


@pytest.mark.slow
@pytest.mark.usefixtures("place")
def test_it_measures_learning_loading_and_scoring(
    script: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--minutes 0.02 --size 64 --batch 2 --workers 0 --ways float32 bfloat16"
    monkeypatch.setattr(sys, "argv", ["ready_for_gpu.py", *options.split()])
    script["main"]()
    rows = dict(re.findall(r"^\| ([^|]+?)(?: \(\d+ steps\))? \| ([\d.]+)", capsys.readouterr().out, re.MULTILINE))
    assert list(rows) == [
        *("float32", "bfloat16", "0 workers"),
        *("reading", "augmenting", "resizing and collating"),
        *("forward and decoding", "selection", "COCO mAP of 8 images"),
    ]
    assert all(float(value) > 0 for value in rows.values())
