"""Boxes are shown from one score on, wherever nobody says otherwise."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import mnv2dense
from mnv2dense.cli.predict import _predictor
from mnv2dense.evaluation.samples import draw_images, draw_samples
from mnv2dense.models.architectures import mobilenet_v2_classifier
from mnv2dense.models.checkpoint import save_model
from mnv2dense.types import SHOWN_SCORE
from mnv2dense.visualization.results import draw_truth_beside
from tests.helpers.tiny import tiny_model

PACKAGE = Path(mnv2dense.__file__).parent


def test_samples_and_reports_show_boxes_from_the_one_score_on() -> None:
    for draw in (draw_images, draw_samples, draw_truth_beside):
        assert inspect.signature(draw).parameters["threshold"].default == SHOWN_SCORE, draw


def test_predict_shows_boxes_from_it_on_and_all_classes(tmp_path: Path) -> None:
    options = {
        "test_time": None,
        "tile": None,
        "threshold": None,
        "device": "cpu",
        "threads": None,
        "calibrated": False,
    }
    for model, threshold in (
        (tiny_model(3, size=(64, 64)), SHOWN_SCORE),
        (mobilenet_v2_classifier(3, width_mult=0.35, size=(64, 64)), None),
    ):
        save_model(model, tmp_path / "model.ckpt")
        config = OmegaConf.create(
            {**options, "checkpoint": str(tmp_path / "model.ckpt"), "packages": ["mnv2dense"], "output_stride": None}
        )
        assert _predictor(config).threshold == threshold


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (PACKAGE / "demo/static/index.html", r'id="score" type="range" min="0" max="1" step="0.01" value="([\d.]+)"'),
        (PACKAGE.parent / "conf/predict.yaml", r"null is ([\d.]+) for boxes"),
    ],
)
def test_what_is_written_elsewhere_says_the_same(file: Path, said: str) -> None:
    found = re.search(said, file.read_text(encoding="utf-8"))
    assert found is not None
    assert float(found[1]) == SHOWN_SCORE
