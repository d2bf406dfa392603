"""A detector without anchors through the commands: trained, scored, resumed, reported, predicting."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.tiny import TINY, command

pytestmark = pytest.mark.usefixtures("place")

HEAD = ("head=points", "loss=task_aligned", "loss.static_epochs=1", "head.channels=16")


@pytest.mark.slow
def test_it_goes_the_way_that_ssdlite_goes() -> None:
    options = ["task=detection", *TINY, *HEAD, "run_dir=run"]
    trained = command("train", *options, "trainer.max_epochs=1")
    assert trained.code == 0, trained.err
    log = Path("run/run.log").read_text(encoding="utf-8")
    assert "PointHead does not take, set for others: first_map_anchors" in log
    assert "PointHead at 64x64" in log
    assert "can have an anchor of their own" not in log
    scores = json.loads(Path("run/metrics.json").read_text())
    assert 0 <= scores["AP"] < 1
    resumed = command("train", *options, "trainer.max_epochs=2", "resume=run")
    assert resumed.code == 0, resumed.err
    assert "epoch 2/2" in resumed.out
    scored = command("evaluate", "checkpoint=run", "run_dir=scored")
    assert scored.code == 0, scored.err
    again = json.loads(Path("scored/metrics.json").read_text())
    assert again["AP"] == json.loads(Path("run/metrics.json").read_text())["AP"]
    report = Path("run/report.html").read_text(encoding="utf-8")
    assert "anchor bound" not in report
    image = next(Path("run").glob("**/*.jpg"))
    predicted = command("predict", "checkpoint=run", f"source={image}", "threshold=0.01", "run_dir=found")
    assert predicted.code == 0, predicted.err
    begun = command("train", "task=detection", *TINY, *HEAD, "init_from=run", "run_dir=second",
                    "trainer.fast_dev_run=true")  # fmt: skip
    assert begun.code == 0, begun.err
    assert " kept" in Path("second/run.log").read_text(encoding="utf-8")
