"""Thresholds chosen after a scoring: for the best F1 or a promise, of one head or several, and kept in one file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from torch import tensor

from mnv2dense import deeplabv3_mobilenet_v2, load_model, mobilenet_v2_classifier, save_model
from mnv2dense.metrics import CocoMeanAP, JointMetric, MeanIoU, MetricGroup, Promise
from mnv2dense.metrics.of_boxes import box_metrics
from mnv2dense.protocols import Metric
from mnv2dense.types import Detections
from mnv2dense.workflows.choosing import check_choosing, choose, write_promises
from tests.helpers.joint import BOXES, CARS, joint_model
from tests.helpers.tiny import tiny_model
from tests.metrics.test_coco_map import Truth, batch_of

NAMES = ("0", "1", "2")


def logit(share: float) -> float:
    return math.log(share / (1 - share))


def scored(names: tuple[str, ...], *, images: int = 60, score: float = 0.75, right: bool = True) -> CocoMeanAP:
    """An object of the first class in each image, and a box of this score on it or beside it."""
    box = [0.0, 0.0, 10.0, 10.0]
    rows = [
        {"id": k + 1, "image_id": k, "category_id": 1, "bbox": box, "area": 100.0, "iscrowd": 0} for k in range(images)
    ]
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(names)]
    metric = CocoMeanAP()
    metric.bind(Truth({"images": [{"id": k} for k in range(images)], "categories": categories, "annotations": rows}))
    place = tensor([box]) + (0 if right else 100)
    found = [Detections(place, tensor([score]), tensor([0]), names)] * images
    metric.update(found, batch_of(*range(images)))
    metric.compute()
    return metric


def test_the_best_are_kept_with_the_model_and_in_its_file(tmp_path: Path) -> None:
    model = tiny_model()
    file = save_model(model, tmp_path / "model.ckpt")
    assert choose(scored(NAMES), model).kept_in is None
    assert load_model(file).thresholds == {}
    chosen = choose(scored(NAMES), model, keep_in=file)
    assert chosen.kept_in == file
    assert load_model(file).thresholds[""].of(NAMES) == model.thresholds[""].of(NAMES) == (0.75, 0.75, 0.75)


def test_a_promise_is_kept_in_the_place_of_the_best_or_it_says_that_it_cannot_be(tmp_path: Path) -> None:
    model = tiny_model()
    file = save_model(model, tmp_path / "model.ckpt")
    chosen = choose(scored(NAMES, score=0.5), model, promise=Promise(0.1, 0.95), keep_in=file)
    kept = load_model(file).thresholds[""]
    assert (kept.overall, kept.chosen_for) == (0.5, "at most 10% of objects missed, with 95% confidence")
    write_promises(tmp_path, chosen.promised)
    written = json.loads((tmp_path / "promise.json").read_text())
    assert written["classes"]["0"] == written["all"] == chosen.promised[""].overall._asdict()
    few = choose(scored(NAMES, images=10), model, promise=Promise(0.1, 0.95), keep_in=file)
    assert few.not_kept.endswith("at most 10% of objects missed, with 95% confidence, cannot be promised.")
    assert choose(scored(NAMES, right=False), model, keep_in=file).not_kept.endswith("nothing that it finds is right.")
    assert load_model(file).thresholds[""] == kept


def test_each_head_for_boxes_of_several_has_its_own(tmp_path: Path) -> None:
    model = joint_model(cars=True)
    file = save_model(model, tmp_path / "model.ckpt")
    parts: dict[str, Metric] = {
        "boxes": scored(BOXES, score=0.5),
        "masks": MeanIoU(),
        "cars": MetricGroup(parts={"map": scored(CARS, score=0.25)}),
    }
    metric = JointMetric(parts=parts)
    assert list(box_metrics(metric)) == ["boxes", "cars"]
    chosen = choose(metric, model, promise=Promise(0.2, 0.9), keep_in=file)
    kept = load_model(file).thresholds
    assert {name: own.overall for name, own in kept.items()} == {"boxes": 0.5, "cars": 0.25}
    for name in chosen.promised:
        (tmp_path / name).mkdir()
    write_promises(tmp_path, chosen.promised)
    assert json.loads((tmp_path / "cars" / "promise.json").read_text())["all"]["threshold"] == 0.25


def test_a_head_that_finds_nothing_keeps_the_others_from_nothing(tmp_path: Path) -> None:
    model = joint_model(cars=True)
    file = save_model(model, tmp_path / "model.ckpt")
    parts: dict[str, Metric] = {"boxes": scored(BOXES, score=0.5), "cars": scored(CARS, right=False)}
    chosen = choose(JointMetric(parts=parts), model, keep_in=file)
    assert chosen.kept_in == file
    assert chosen.not_kept == "no thresholds are kept of cars: nothing that it finds is right."
    assert list(load_model(file).thresholds) == ["boxes"]


def test_the_temperature_of_the_scores_is_kept_beside_them(tmp_path: Path) -> None:
    model = tiny_model()
    file = save_model(model, tmp_path / "model.ckpt")
    metric = scored(NAMES, images=90, score=0.9)
    for k in range(30):  # a third is wrong, so that 0.9 should be 2/3
        metric._results[k][:, :4] += 100
    metric.compute()
    choose(metric, model, keep_in=file)
    assert load_model(file).temperatures == model.temperatures
    assert model.temperatures[""] == pytest.approx(logit(0.9) / logit(2 / 3), rel=1e-3)


def test_a_full_disk_leaves_the_file_as_it_was_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    file = save_model(model, tmp_path / "model.ckpt")
    before = file.read_bytes()

    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mnv2dense.workflows.choosing.write_kept", full)
    chosen = choose(scored(NAMES), model, keep_in=file)
    assert chosen.kept_in is None
    assert "No space left on device" in chosen.not_kept
    assert file.read_bytes() == before


def test_what_has_no_boxes_is_not_asked_for_thresholds() -> None:
    classifier = mobilenet_v2_classifier(3, width_mult=0.35, size=(64, 64))
    check_choosing(classifier, None, keep=False)
    check_choosing(classifier, None, keep=True)  # a temperature
    masks = deeplabv3_mobilenet_v2(3, width_mult=0.35, size=(64, 64))
    with pytest.raises(ValueError, match=r"keep_thresholds=true: .* are of scores.* for segmentation"):
        check_choosing(masks, None, keep=True)
    with pytest.raises(ValueError, match=r"promise\.missed=0\.1: thresholds are of boxes"):
        check_choosing(classifier, Promise(0.1), keep=False)
