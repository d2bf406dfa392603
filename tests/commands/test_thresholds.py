"""From scores to thresholds that are kept, promised and used, by the commands."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from mnv2dense import load_model, mobilenet_v2_classifier, save_model
from mnv2dense.data.shapes.drawing import draw_image
from mnv2dense.visualization.draw import save_image
from tests.helpers.tiny import command

pytestmark = pytest.mark.usefixtures("place")

SHAPES = ("data=shapes", "data.val_images=24", "data.train_images=1", "num_workers=0", "device=cpu")


@pytest.mark.slow
def test_they_are_kept_by_evaluate_used_by_predict_and_told_in_the_report(tmp_path: Path) -> None:
    save_model(load_model("shapes"), "shapes.ckpt")
    save_image(draw_image(np.random.default_rng(0), size=200)[0], tmp_path / "photo.png")
    early = command("predict", "checkpoint=shapes.ckpt", "source=photo.png", "threshold=auto", "device=cpu")
    assert early.code == 2
    assert "tools/evaluate.py checkpoint=shapes.ckpt keep_thresholds=true" in early.err

    options = ("keep_thresholds=true", "threshold=auto", "promise.missed=0.4", "promise.confidence=0.8")
    outcome = command("evaluate", "checkpoint=shapes.ckpt", *SHAPES, *options, "run_dir=scores")
    assert outcome.code == 0, outcome.err
    kept = load_model("shapes.ckpt").thresholds[""]
    assert kept.chosen_for == "at most 40% of objects missed, with 80% confidence"
    promise = json.loads(Path("scores/promise.json").read_text())
    assert promise["all"]["threshold"] == kept.overall
    assert promise["all"]["missed"] <= 0.4
    curves = json.loads(Path("scores/thresholds.json").read_text())
    assert len(curves["thresholds"]) == len(curves["all"]["F1"]) == 95
    page = Path("scores/report.html").read_text(encoding="utf-8")
    assert "The promise: at most 40% of objects missed, with 80% confidence" in page
    assert "The model keeps those of the promise below" in page

    found = command("predict", "checkpoint=shapes.ckpt", "source=photo.png", "threshold=auto", "device=cpu")
    assert found.code == 0, found.err
    boxes = json.loads(Path(found.out.splitlines()[-1], "predictions.json").read_text())["annotations"]
    least = kept.of(load_model("shapes.ckpt").class_names)
    assert boxes
    assert all(box["score"] >= least[box["category_id"] - 1] - 1e-5 for box in boxes)

    temperature = load_model("shapes.ckpt").temperatures[""]
    assert json.loads(Path("scores/errors.json").read_text())["calibration"]["temperature"] == pytest.approx(
        temperature, abs=1e-3
    )
    options = ("source=photo.png", "threshold=auto", "calibrated=true", "device=cpu")
    found = command("predict", "checkpoint=shapes.ckpt", *options)
    assert found.code == 0, found.err
    cooled = json.loads(Path(found.out.splitlines()[-1], "predictions.json").read_text())["annotations"]
    odds = [math.log(box["score"] / (1 - box["score"])) / temperature for box in boxes]
    assert [box["score"] for box in cooled] == pytest.approx([1 / (1 + math.exp(-odd)) for odd in odds], abs=1e-3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("threshold=high",), "threshold=high: a number is needed, as 0.4, or auto"),
        (("threshold=auto",), "shapes keeps no thresholds"),
        (("keep_thresholds=maybe",), "keep_thresholds=maybe: true or false is needed"),
        (("keep_thresholds=true",), "save the model first"),
        (("promise.missed=10",), r"promise.missed=10: a share between 0 and 1 is needed, as 0.1 for 10%"),
        (("promise.missed=0.1", "promise.confidence=much"), "promise.confidence=much: a number is needed"),
        (("promise=0.1",), "promise"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_is_scored(options: tuple[str, ...], expected: str) -> None:
    outcome = command("evaluate", "checkpoint=shapes", *SHAPES, *options)
    assert outcome.code != 0
    assert re.search(expected, outcome.err), outcome.err
    assert "scoring" not in outcome.err


def test_thresholds_are_not_asked_of_what_has_no_boxes(tmp_path: Path) -> None:
    save_image(draw_image(np.random.default_rng(0), size=64)[0], tmp_path / "photo.png")
    save_model(mobilenet_v2_classifier(3, width_mult=0.35, size=(64, 64)), "classes.ckpt")
    outcome = command("predict", "source=photo.png", "checkpoint=classes.ckpt", "threshold=auto", "device=cpu")
    assert outcome.code == 2
    assert "threshold=auto is of boxes, and classes.ckpt gives none" in outcome.err


def test_a_model_without_a_temperature_says_so_and_tracks_are_not_calibrated(tmp_path: Path) -> None:
    save_image(draw_image(np.random.default_rng(0), size=64)[0], tmp_path / "photo.png")
    save_model(mobilenet_v2_classifier(3, width_mult=0.35, size=(64, 64)), "classes.ckpt")
    outcome = command("predict", "source=photo.png", "checkpoint=classes.ckpt", "calibrated=true", "device=cpu")
    assert outcome.code == 2
    assert "calibrated=true: classes.ckpt keeps no temperature" in outcome.err
    outcome = command("predict", "source=photo.png", "checkpoint=classes.ckpt", "calibrated=true", "track=true")
    assert outcome.code == 2
    assert "tracks begin and go on by scores as they are" in outcome.err
