"""Thresholds in a model's file: written when all else is there, which stays as it was to the bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mnv2dense import Predictor, load_model, save_model, save_pretrained
from mnv2dense.export import ExportGraph
from mnv2dense.inference.least_scores import kept_scores
from mnv2dense.models import build_model
from mnv2dense.models.kept_thresholds import write_kept
from mnv2dense.runtimes.metadata import Metadata
from mnv2dense.training.kept_answers import fingerprint
from mnv2dense.types import Thresholds
from tests.helpers.joint import joint_model
from tests.helpers.made_once import small_run
from tests.helpers.tiny import random_images, tiny_model

KEPT = {"": Thresholds(0.5, {"1": 0.25})}


def equal(one: Any, other: Any) -> bool:  # noqa: ANN401 - a nest of plain values and tensors
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and one.stride() == other.stride() and torch.equal(one, other)
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def test_a_runs_checkpoint_keeps_them_and_all_else_as_it_was_so_that_resuming_is_exact(tmp_path: Path) -> None:
    before = small_run("detection").folder / "checkpoints" / "best.ckpt"
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / "best.ckpt"
    file.write_bytes(before.read_bytes())
    model = load_model(file)
    chosen = {"": Thresholds(0.5, {model.class_names[0]: 0.25})}
    assert write_kept(tmp_path, chosen) == file
    assert load_model(tmp_path).thresholds == chosen
    was, now = (torch.load(path, weights_only=True) for path in (before, file))
    config = now["mnv2dense"]["config"]
    assert config.pop("thresholds") == chosen[""].config
    was["mnv2dense"]["config"].pop("thresholds", None)
    assert equal(was, now)
    # Averaged weights stand in it twice, and are written once.
    assert abs(file.stat().st_size - before.stat().st_size) < 4096
    assert [path.name for path in file.parent.iterdir()] == ["best.ckpt"]


def test_writing_the_same_again_leaves_the_file_alone(tmp_path: Path) -> None:
    file = save_model(tiny_model(), tmp_path / "model.ckpt")
    write_kept(file, KEPT)
    first = file.stat().st_ino
    assert write_kept(file, KEPT).stat().st_ino == first
    assert write_kept(file, {"": Thresholds(0.125)}).stat().st_ino != first
    assert load_model(file).thresholds == {"": Thresholds(0.125)}


def test_a_folder_for_the_hub_keeps_them_too(tmp_path: Path) -> None:
    folder = save_pretrained(tiny_model(), tmp_path / "mine")
    assert write_kept(str(folder), KEPT) == folder / "config.json"
    assert load_model(folder).thresholds == KEPT


def test_they_travel_with_the_model_and_change_no_answer(tmp_path: Path) -> None:
    model = tiny_model()
    before = fingerprint(model)
    model.keep_thresholds(KEPT)
    assert fingerprint(model) == before
    assert build_model(model.config).thresholds == KEPT
    assert load_model(save_model(model, tmp_path / "model.ckpt")).thresholds == KEPT
    assert model.for_inference("cpu").thresholds == KEPT


def test_each_head_of_several_has_its_own() -> None:
    model = joint_model(cars=True)
    own = {"boxes": Thresholds(0.5, {"bee": 0.25}), "cars": Thresholds(0.75)}
    model.keep_thresholds(own)
    assert build_model(model.config).thresholds == own
    with pytest.raises(ValueError, match=r"the model's heads for boxes \(boxes, cars\)"):
        model.keep_thresholds({"masks": Thresholds(0.5)})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("detector.onnx", "cannot be kept in an exported file"),
        ("shapes", "save the model first"),
    ],
)
def test_where_they_cannot_be_kept_it_says_what_to_do(name: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        write_kept(name, KEPT)


def test_a_file_with_thresholds_that_cannot_be_is_refused_by_name(tmp_path: Path) -> None:
    file = save_model(tiny_model(), tmp_path / "model.ckpt")
    write_kept(file, {"": Thresholds(0.5, {"unicorn": 0.5})})
    with pytest.raises(ValueError, match=r"model\.ckpt: thresholds: 'unicorn' is none of the model's classes"):
        load_model(file)


# --- what uses them --------------------------------------------------------------------------------------------


def scene() -> Any:  # noqa: ANN401 - an image
    return random_images(1)[0]


def test_auto_leaves_out_boxes_below_the_threshold_of_their_class() -> None:
    model = tiny_model(score_threshold=0.05)
    every = Predictor(model, device="cpu")(scene())
    middle = float(every.scores[every.labels == 1].median())
    model.keep_thresholds({"": Thresholds(1.0, {"1": middle})})
    found = Predictor(model, threshold="auto", device="cpu")(scene())
    assert set(found.labels.tolist()) == {1}
    assert found.scores.tolist() == every.scores[(every.labels == 1) & (every.scores >= middle)].tolist()


def test_auto_of_several_heads() -> None:
    model = joint_model(cars=True)
    model.keep_thresholds({"boxes": Thresholds(1.0), "cars": Thresholds(0.0)})
    found = Predictor(model, threshold="auto", device="cpu")(scene())
    plain = Predictor(model, device="cpu")(scene())
    assert len(found["boxes"]) == 0
    assert len(found["cars"]) == len(plain["cars"]) > 0
    model.keep_thresholds({"cars": Thresholds(0.5)})
    with pytest.raises(ValueError, match="this model keeps no thresholds of 'boxes'"):
        Predictor(model, threshold="auto")


def test_a_model_without_any_says_how_it_gets_some(tmp_path: Path) -> None:
    file = save_model(tiny_model(), tmp_path / "model.ckpt")
    expected = rf"{file} keeps no thresholds\. python tools/evaluate\.py checkpoint={file} keep_thresholds=true chooses"
    with pytest.raises(ValueError, match=expected):
        Predictor(file, threshold="auto", device="cpu")
    with pytest.raises(ValueError, match="threshold=many: scores lie between 0 and 1"):
        Predictor(file, threshold="many")  # type: ignore[call-overload]


def test_an_exported_file_says_them_and_one_without_any_is_as_it_was() -> None:
    options = {"score_threshold": 0.01, "nms_threshold": 0.6, "candidates": 1000, "limit": 100}
    plain = Metadata("detection", "boxes", "fp32", (64, 64), "squash", ("0", "1"), (1, 2), options)
    assert "thresholds" not in json.loads(plain.to_json())
    said = json.loads(plain.to_json()) | {"thresholds": KEPT[""].config}
    assert Metadata.from_json(json.dumps(said)).make_thresholds() == KEPT
    assert Metadata.from_json(plain.to_json()).make_thresholds() == {}
    for broken in ({"overall": 2}, {"overall": 0.5, "classes": {"9": 0.5}}, [0.5]):
        with pytest.raises(ValueError, match="thresholds"):
            Metadata.from_json(json.dumps(said | {"thresholds": broken}))


def test_what_is_exported_is_described_with_them() -> None:
    model = tiny_model()
    assert ExportGraph(model).describe("fp32").thresholds == {}
    model.keep_thresholds(KEPT)
    assert ExportGraph(model).describe("fp32").make_thresholds() == KEPT
    joint = joint_model(cars=True)
    joint.keep_thresholds({"boxes": Thresholds(0.5), "cars": Thresholds(0.75)})
    described = Metadata.from_json(ExportGraph(joint).describe("fp32").to_json())
    assert described.make_thresholds() == joint.thresholds


def test_an_exported_file_without_any_says_how_it_gets_some() -> None:
    selection = tiny_model().selection
    expected = (
        r"model\.onnx keeps no thresholds.*checkpoint=RUN keep_thresholds=true.* in the checkpoint, and export that"
    )
    with pytest.raises(ValueError, match=expected):
        kept_scores(selection, {}, named="model.onnx", exported=True)
    assert kept_scores(selection, KEPT) == (0.5, 0.25, 0.5)
