"""Calibrated scores: by hand, beside thresholds, of several heads, of exported files, and what is said without any."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mnv2dense import (
    Predictor,
    deeplabv3_mobilenet_v2,
    load_model,
    mobilenet_v2_classifier,
    save_model,
)
from mnv2dense.export.graph import ExportGraph
from mnv2dense.inference.calibrated import calibrated
from mnv2dense.models import DenseModel
from mnv2dense.runtimes.metadata import Metadata
from mnv2dense.types import Classification, Detections, JointResult, Segmentation
from tests.helpers.tiny import tiny_model

NAMES = ("a", "b", "c")
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def boxes(*scores: float) -> Detections:
    return Detections(torch.zeros(len(scores), 4), torch.tensor(scores), torch.arange(len(scores)), NAMES)


def test_a_temperature_divides_logits() -> None:
    # 0.8 = sigmoid(log 4); half of that is log 2, and sigmoid(log 2) = 2/3. 0 and 1 stay what they are.
    assert boxes(1.0, 0.8, 0.0).cooled(2).scores.tolist() == pytest.approx([1, 2 / 3, 0])
    # The square roots of 0.64, 0.32 and 0.04, as shares of their sum.
    roots = [math.sqrt(share) for share in (0.64, 0.32, 0.04)]
    found = Classification(torch.tensor([0.64, 0.32, 0.04]), torch.tensor([2, 0, 1]), NAMES).cooled(2)
    assert found.scores.tolist() == pytest.approx([root / sum(roots) for root in roots])
    assert found.labels.tolist() == [2, 0, 1]


def test_thresholds_are_of_scores_as_they_were() -> None:
    found = boxes(0.8, 0.5, 0.2)
    shown = calibrated(found, found.above([0.9, 0.4, 0.1]), {"": 2.0})
    assert shown.labels.tolist() == [1, 2]
    assert shown.scores.tolist() == pytest.approx([0.5, 1 / 3])  # sigmoid(log(1/4) / 2) = 1/3
    classes = Classification(torch.tensor([0.64, 0.32, 0.04]), torch.tensor([2, 0, 1]), NAMES)
    assert calibrated(classes, classes.above(0.3), {"": 2.0}).scores.tolist() == pytest.approx(
        [4 / 7.828, 0.3613], abs=1e-4
    )


def test_of_several_heads_those_with_scores_are_calibrated() -> None:
    masks = Segmentation(torch.zeros(4, 4, dtype=torch.uint8), NAMES)
    found = JointResult({"boxes": boxes(0.8, 0.2), "masks": masks})
    shown = calibrated(found, found.above(0.5), {"boxes": 2.0})
    assert shown["boxes"].scores.tolist() == pytest.approx([2 / 3])
    assert shown["masks"] is masks


def classifier() -> DenseModel:
    model = mobilenet_v2_classifier(3, width_mult=0.35, size=(64, 64))
    for parameter in model.head.parameters():  # as it begins all classes are as likely
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    return model


@pytest.mark.parametrize("make", [tiny_model, classifier])
def test_a_predictor_calibrates_when_asked(make: Callable[[], DenseModel], tmp_path: Path) -> None:
    model = make()
    model.keep_temperatures({"": 3.0})
    file = save_model(model.eval(), tmp_path / "model.ckpt")
    plain, hot = Predictor(file)(IMAGE), Predictor(file, calibrated=True)(IMAGE)
    assert torch.equal(hot.labels, plain.labels)
    torch.testing.assert_close(hot.scores, plain.cooled(3.0).scores)
    assert not torch.allclose(hot.scores, plain.scores)


def test_an_exported_file_keeps_it() -> None:
    model = tiny_model()
    assert "temperatures" not in json.loads(ExportGraph(model).describe("fp32").to_json())
    model.keep_temperatures({"": 3.0})
    said = ExportGraph(model).describe("fp32").to_json()
    assert Metadata.from_json(said).make_temperatures() == {"": 3.0}
    for broken in ({"": 0}, {"masks": 2}, 3.0):
        with pytest.raises(ValueError, match="temperatures"):
            Metadata.from_json(json.dumps(json.loads(said) | {"temperatures": broken}))


def test_a_model_that_keeps_none_or_has_no_scores_says_so(tmp_path: Path) -> None:
    file = save_model(tiny_model(), tmp_path / "model.ckpt")
    with pytest.raises(ValueError, match=rf"{file} keeps no temperature\. .* checkpoint={file} keep_thresholds=true"):
        Predictor(file, calibrated=True)
    with pytest.raises(ValueError, match="gives masks, whose pixels have none"):
        Predictor(deeplabv3_mobilenet_v2(3, width_mult=0.35, size=(64, 64)), calibrated=True)
    with pytest.raises(ValueError, match="is no number above 0"):
        load_model(file).keep_temperatures({"masks": 2.0})
