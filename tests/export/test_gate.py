"""The gate as a Python function, with an exporter of torch's own; the command is in tests/commands/test_export.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import mnv2dense
from mnv2dense.export import ExportOptions, RefusedExportError, Tolerance, export_model, gate
from mnv2dense.export.gate import put_in_place
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.runtimes.exported_model import ExportedModel
from tests.export.test_parity import model_for
from tests.helpers import fake_exporter
from tests.helpers.tiny import random_images, tiny_model

pytestmark = pytest.mark.usefixtures("place")


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_exporter.install(monkeypatch)


@pytest.fixture(scope="module")
def detector() -> DenseModel:
    return model_for("detection")


@pytest.fixture(scope="module")
def classifier() -> DenseModel:
    return model_for("classification")


def test_a_model_becomes_a_file_in_one_call(detector: DenseModel) -> None:
    given = [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in random_images(3, (40, 50))]
    report = mnv2dense.export_model(detector, "out/model.fake", images=given, nms=True, license="Apache-2.0")
    assert report.failures == []
    assert report.parity is not None
    assert (report.parity.images, report.images_from) == (3, "those given")
    exported = ExportedModel("out/model.fake")
    assert exported.description.outputs == "selected_boxes"
    assert exported.description.license == "Apache-2.0"
    assert sorted(path.name for path in Path("out").iterdir()) == ["model.fake", "model.fake.json"]


def test_the_threshold_and_the_count_of_boxes_can_be_chosen(detector: DenseModel) -> None:
    before = dict(detector.head.selection.config)
    chosen = {"score_threshold": 0.2, "limit": 7}
    export_model(detector, "model.fake", images=list(random_images(2)), nms=True, selection=chosen)
    exported = ExportedModel("model.fake")
    assert exported.description.selection == before | chosen
    assert [list(tensor.shape) for tensor in exported.run(random_images(1, exported.size))] == [
        [1, 7, 4],
        [1, 7],
        [1, 7],
    ]
    assert detector.head.selection.config == before


def test_a_selection_is_of_boxes(classifier: DenseModel) -> None:
    with pytest.raises(ValueError, match="is of boxes, and this model is for classification"):
        export_model(classifier, "model.fake", selection={"limit": 7})


def test_a_file_that_answers_otherwise_is_refused_with_the_report(classifier: DenseModel) -> None:
    Path("model.fake").write_text("an older one")
    wrong = {"stretched": "head.classifier", "factor": -1}
    with pytest.raises(RefusedExportError, match=r"the first layer that diverges is head\.classifier") as error:
        export_model(classifier, "model.fake", images=list(random_images(1)), options=wrong)
    assert error.value.report.failures
    assert "try another version or another exporter" in str(error.value)
    assert Path("model.fake").read_text() == "an older one"
    assert [path.name for path in Path().iterdir()] == ["model.fake"]


def test_pictures_that_show_nothing_refuse_a_file_with_the_report() -> None:
    fresh = tiny_model(size=(64, 64))  # every score is near 1/4
    given = list(random_images(2))
    with pytest.raises(RefusedExportError, match=r"finds no box of score 0\.3 or more in the 2 images") as error:
        export_model(fresh, "model.fake", precision="int8", calibration=given)
    assert not error.value.report.plain()["passed"]
    unjudged = Tolerance.of("int8", "detection", agreement=0)
    export_model(fresh, "model.fake", precision="int8", calibration=given, tolerance=unjudged)
    assert json.loads(Path("model.fake").read_text())["calibration"] == [[1, 3, 64, 64]] * 2


def test_without_pictures_shapes_are_drawn_and_the_report_says_so(
    classifier: DenseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "PARITY_IMAGES", 2)
    assert export_model(classifier, "model.fake").images_from == "drawn shapes"


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("model.bin", {}, r"model\.bin: exported files end in \.onnx, .*give exporter="),
        ("model.bin", {"exporter": "fake"}, r"output=model\.bin: such a file ends in \.fake"),
        ("model.fake", {"exporter": "onyx"}, "did you mean exporter=onnx"),
        ("model.fake", {"labels": True}, "labels=true is for segmentation, and this model is for classification"),
        ("model.fake", {"precision": "int8", "images": list(random_images(1))}, "int8 needs calibration images"),
        ("model.fake", {"images": []}, "there are no images to compare"),
        ("model.fake", {"keep_float": ["backbone.stm"]}, "did you mean backbone.stem"),
        ("model.fake", {"size": (64,)}, "give height and width"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    classifier: DenseModel, name: str, options: dict[str, object], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        export_model(classifier, name, **options)  # type: ignore[arg-type]
    assert list(Path().iterdir()) == []


def test_a_missing_package_is_told_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnv2dense.export.formats.common.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'exporting to Fake needs torch: pip install "mnv2dense\[fake\]"'):
        ExportOptions(exporter="fake")


# --- files that belong together ------------------------------------------------------------------------------


def made(files: dict[str, str]) -> Path:
    folder = Path("made")
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


def test_files_that_belong_together_replace_older_ones() -> None:
    for name in ("model.xml", "model.bin"):
        Path(name).write_text("old")
    put_in_place(made({"model.xml": "new", "model.bin": "new"}), Path("model.xml"))
    assert [Path(name).read_text() for name in ("model.xml", "model.bin")] == ["new", "new"]


@pytest.mark.parametrize(("name", "companion"), [("model.xml", "model.bin"), ("model.pte", "model.pte.json")])
def test_cut_off_between_two_files_none_is_there_under_the_name(
    name: str, companion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (name, companion):
        Path(path).write_text("old")
    folder = made({name: "new", companion: "new"})
    replace = Path.replace

    def cut_off(path: Path, target: Path) -> Path:
        if path.name == name:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", cut_off)
    with pytest.raises(KeyboardInterrupt):
        put_in_place(folder, Path(name))
    assert not Path(name).exists()
    assert Path(companion).read_text() == "new"


def test_a_package_replaces_an_older_one_as_a_whole() -> None:
    Path("model.mlpackage").mkdir()
    Path("model.mlpackage/old").write_text("old")
    folder = made({})
    (folder / "model.mlpackage").mkdir()
    (folder / "model.mlpackage" / "new").write_text("new")
    put_in_place(folder, Path("model.mlpackage"))
    assert [path.name for path in Path("model.mlpackage").iterdir()] == ["new"]
