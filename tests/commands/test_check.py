"""tools/check.py with an exporter of torch's own; files of real runtimes are in tests/export/formats/test_exam.py."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mnv2dense
from mnv2dense import export_model, save_model
from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.options import ExamOptions
from mnv2dense.runtimes.exam_inputs import decoded, rightly, wrongly
from mnv2dense.runtimes.exported_model import ExportedModel
from tests.helpers import fake_exporter
from tests.helpers.small_models import SIZE, classifier, segmenter
from tests.helpers.tiny import command, random_images

pytestmark = pytest.mark.usefixtures("place")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("right") / "right.fake"
    with pytest.MonkeyPatch.context() as patch:
        fake_exporter.install(patch, exams=True)
        patch.setattr("mnv2dense.export.exam.CANDIDATES", 6)
        export_model(classifier(), path, images=list(random_images(2, SIZE)))
    return path.read_text()


@pytest.fixture(autouse=True)
def right(written: str, place: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake_exporter.install(monkeypatch, exams=True)
    Path("right.fake").write_text(written)
    return Path("right.fake")


def stretched(right: Path, module: str = "backbone.stem") -> Path:
    """A file whose weights no known fault made."""
    graph = ExportGraph(classifier())
    said = ExportedModel(right).description
    return fake_exporter.export(graph, Path("wrong.fake"), description=said, stretched=module, factor=1.5)


def test_a_right_file_is_equal_and_the_exit_code_is_0(right: Path) -> None:
    outcome = command("check", right)
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("equal: right.fake answers its 3 pictures as the model did")
    assert command("check", "file=right.fake", "threads=1").out == outcome.out


def test_a_file_that_differs_ends_in_three_lines_and_exit_code_1(right: Path) -> None:
    outcome = command("check", right, stretched(right))
    assert outcome.code == 1
    lines = outcome.out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["equal", "differs", "likely cause", "next"]
    assert lines[2] == "likely cause: none of the known ones"
    assert lines[3] == "next: mnv2dense-check wrong.fake checkpoint=RUN finds the first layer that differs."


def test_with_its_model_it_is_told_whether_the_file_or_the_machine_is_wrong(
    right: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = save_model(classifier(), Path("model.ckpt"))
    wrong = stretched(right)
    outcome = command("check", wrong, f"checkpoint={checkpoint}")
    assert outcome.code == 1, outcome.err
    assert "likely cause: this file alone: every layer of a fresh export answers rightly here" in outcome.out
    plain = fake_exporter.export
    module = "backbone.blocks.1"
    monkeypatch.setattr(
        sys.modules["mnv2dense.export.formats.fake"],
        "export",
        lambda *given, **options: plain(*given, **options, stretched=module, factor=1.5),
    )
    outcome = command("check", wrong, f"checkpoint={checkpoint}")
    assert "backbone.blocks.1" in outcome.out.splitlines()[-2]
    assert "is the first layer that answers otherwise" in outcome.out
    outcome = command("check", wrong, f"checkpoint={save_model(segmenter(), Path('other.ckpt'))}")
    assert outcome.code == 2
    assert "other.ckpt: of other classes or another size than wrong.fake" in outcome.err


def test_a_file_of_another_size_than_its_model_is_looked_at_in_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnv2dense.export.exam.CANDIDATES", 6)
    model, size = segmenter(), (48, 80)
    export_model(model, "right.fake", size=size, images=list(random_images(2, size)), exam=ExamOptions(pictures=1))
    graph = ExportGraph(model, size=size)
    said = ExportedModel("right.fake").description
    fake_exporter.export(graph, Path("wrong.fake"), description=said, stretched="backbone.stem", factor=1.5)
    outcome = command("check", "wrong.fake", f"checkpoint={save_model(model, Path('model.ckpt'))}")
    assert outcome.code == 1, outcome.err
    assert "likely cause: this file alone" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "file: name an exported file to check, as in mnv2dense-check detector.onnx"),
        (["nowhere.fake"], "nowhere.fake: no such file"),
        (["photo.jpg"], "photo.jpg: not an exported file; they end in .onnx"),
        (["right.fake", "other.fake", "checkpoint=model.ckpt"], "is of one file, and 2 are named; check one"),
        (["right.fake", "checkpoint=right.fake"], "checkpoint=right.fake is an exported file; give what it was made"),
        (["bare.fake"], "bare.fake: it carries no exam (exported with exam.pictures=0, or by an older version)"),
        (["apple.mlpackage"], "such files run on Apple's systems alone"),
    ],
)
def test_what_cannot_be_checked_is_said_in_a_line(arguments: list[str], expected: str) -> None:
    Path("photo.jpg").touch()
    Path("apple.mlpackage").mkdir()
    content = json.loads(Path("right.fake").read_text())
    said = json.loads(content["description"])
    del said["exam"]
    Path("bare.fake").write_text(json.dumps(content | {"description": json.dumps(said)}))
    outcome = command("check", *arguments)
    assert outcome.code == 2
    assert expected in outcome.err
    assert outcome.err.count("\n") == 1


def test_what_was_found_is_said_before_a_later_file_fails(right: Path) -> None:
    content = json.loads(right.read_text())
    Path("torn.fake").write_text(json.dumps(content | {"description": "{"}))
    outcome = command("check", right, "torn.fake")
    assert outcome.code == 2
    assert outcome.out.startswith("equal: right.fake")
    assert "no json" in outcome.err


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda exam: exam["at"].update(boxes=[0]), "its exam is of other outputs than the file's (boxes)"),
        (lambda exam: exam.update(at={}), "its exam is of other outputs than the file's (none)"),
        (lambda exam: exam["at"].update(scores=[0, 1, 99]), "its exam looks at place 99 of 3 values"),
        (lambda exam: exam["pictures"][0].update(png="R0lGODlh"), "a picture of its exam is no PNG"),
        (lambda exam: exam.update(format=2), "its exam is of format 2, and this version reads 1; update mnv2dense"),
    ],
)
def test_a_strangers_exam_is_refused_in_a_line(
    right: Path, change: Callable[[dict[str, Any]], object], expected: str
) -> None:
    content = json.loads(right.read_text())
    said = json.loads(content["description"])
    change(said["exam"])
    for picture in said["exam"]["pictures"]:
        for answers in (picture["answers"], *picture["otherwise"].values()):
            answers["boxes"] = [0.5]
    said["exam"]["limits"]["boxes"] = 0.1
    right.write_text(json.dumps(content | {"description": json.dumps(said)}))
    outcome = command("check", right)
    assert outcome.code == 2
    assert f"right.fake: {expected}" in outcome.err
    assert outcome.err.count("\n") == 1


def test_an_apps_own_input_is_compared_with_the_right_one(right: Path) -> None:
    exam = ExportedModel(right).exam
    assert exam is not None
    pixels = decoded(exam.pictures[1].png)
    assert mnv2dense.check_input(right, rightly(pixels, SIZE, "squash").numpy(), picture=1).equal
    for fault, prepare in wrongly(SIZE, "squash").items():
        report = mnv2dense.check_input(right, prepare(pixels)[0].numpy(), picture=1)
        if not report.equal:
            assert report.cause == fault
            assert report.said.startswith(f"{fault}: ")
    report = mnv2dense.check_input(right, np.zeros((*SIZE, 3), np.uint8))
    assert (report.equal, report.cause) == (False, "channels last")
    noise = random_images(1, SIZE)[0].numpy()
    assert "no known fault makes such an input" in mnv2dense.check_input(right, noise).said
    with pytest.raises(ValueError, match="its exam has 3 pictures, numbered from 0; there is no picture=3"):
        mnv2dense.check_input(right, noise, picture=3)
