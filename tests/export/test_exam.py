"""Exams made for files of torch's own; those of real runtimes are in tests/export/formats/test_exam.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mnv2dense import check_file, export_model
from mnv2dense.backbones import MobileNetV2
from mnv2dense.backbones.blocks import Padding
from mnv2dense.export.exam_faults import CHANGES, faults
from mnv2dense.export.exam_pictures import best_places, most_different, small_pictures
from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.options import ExamOptions
from mnv2dense.export.parity import Tolerance
from mnv2dense.heads.classifier import ClassifierHead
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.runtimes.exam_inputs import decoded, rightly
from mnv2dense.runtimes.exported_model import ExportedModel
from tests.helpers import fake_exporter
from tests.helpers.joint import joint_model
from tests.helpers.small_models import SIZE, classifier, detector, segmenter
from tests.helpers.tiny import random_images

pytestmark = pytest.mark.usefixtures("place")


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_exporter.install(monkeypatch, exams=True)
    monkeypatch.setattr("mnv2dense.export.exam.CANDIDATES", 12)


def exported(model: DenseModel, name: str = "right.fake", **options: Any) -> Path:  # noqa: ANN401 - of the export
    export_model(model, name, images=list(random_images(2, model.size)), **options)
    return Path(name)


def answering_as(path: Path, change: str, model: DenseModel, **options: Any) -> Path:  # noqa: ANN401 - of the graph
    """A file of the model with a fault, and the exam of ``path``."""
    graph = ExportGraph(model, **options)
    CHANGES[change](graph.model)
    return fake_exporter.export(graph, Path("wrong.fake"), description=ExportedModel(path).description)


@pytest.mark.slow
def test_faults_are_named_by_boxes_that_the_file_selects_itself() -> None:
    model = detector()
    right = exported(model, nms=True)
    said = ExportedModel(right).description.exam
    assert list(said["limits"]) == ["results"]
    assert said["at"] == {}
    assert check_file(right).equal
    told = [change for change in CHANGES if change in said["pictures"][0]["otherwise"]]
    assert len(told) > 2
    for change in told:
        report = check_file(answering_as(right, change, model, decided=True))
        assert report.cause == change, report
    content = json.loads(right.read_text())
    for results in ({"grid": [[0]]}, [{"label": 1, "score": 0.5}]):
        described = json.loads(content["description"])
        described["exam"]["pictures"][1]["results"] = results
        right.write_text(json.dumps(content | {"description": json.dumps(described)}))
        with pytest.raises(ValueError, match=r"^right\.fake: its exam has "):
            check_file(right)


def test_one_scale_for_a_tensor_is_no_fault_of_a_file_that_shall_have_it() -> None:
    images = list(random_images(2, SIZE))
    for target, is_fault in (("per_channel", True), ("per_tensor", False)):
        right = exported(classifier(), precision="int8", calibration=images, target=target)
        told = ExportedModel(right).description.exam["pictures"][0]["otherwise"]
        assert ("one scale per tensor" in told) == is_fault
        assert "not normalised" in told
        assert check_file(right).equal


@pytest.mark.slow
def test_of_several_heads_each_has_its_answers() -> None:
    model = joint_model(scene=True)
    right = exported(model)
    said = ExportedModel(right).description.exam
    assert list(said["at"]) == ["boxes_boxes", "boxes_scores", "masks_logits", "scene_scores"]
    assert set(said["pictures"][0]["results"]) == {"boxes", "masks", "scene"}
    assert check_file(right).equal
    report = check_file(answering_as(right, "not normalised", model))
    assert report.cause == "not normalised"
    assert report.differing
    decided = exported(model, "decided.fake", nms=True, labels=True)
    assert list(ExportedModel(decided).description.exam["limits"]) == ["masks_labels", "scene_scores", "boxes_results"]
    assert check_file(decided).equal


def test_of_label_maps_the_share_of_other_labels_is_told() -> None:
    model = varied_segmenter()
    right = exported(model, labels=True)
    grid = ExportedModel(right).description.exam["pictures"][0]["results"]["grid"]
    assert np.array(grid).shape == (16, 16)
    assert check_file(right).equal
    report = check_file(answering_as(right, "not normalised", model, decided=True))
    assert report.cause == "not normalised"


def varied_segmenter() -> DenseModel:
    """Whose four classes are about as likely, so that each is somewhere."""
    model = segmenter()
    with torch.no_grad():
        image = rightly(decoded(small_pictures(None, model.size, 1)[0]), model.size, model.resize)
        logits = ExportGraph(model)(image)[0]
        model.head.classifier.bias -= logits.mean((0, 2, 3))  # type: ignore[union-attr]  # a convolution
    return model


def test_a_coarsely_rounded_file_is_compared_with_what_it_answered_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier()
    rounding: dict[str, Any] = {"stretched": "backbone.blocks.1", "factor": 1.2}
    plain: Any = fake_exporter.export
    monkeypatch.setattr(
        sys.modules["mnv2dense.export.formats.fake"],
        "export",
        lambda *given, **asked: plain(*given, **asked, **rounding),
    )
    calibration = list(random_images(4, model.size, seed=1))
    loose = Tolerance(difference=None, agreement=0)
    right = exported(model, precision="int8", calibration=calibration, tolerance=loose)
    description = ExportedModel(right).description
    far, own_limit = description.exam["limits"]["scores"], description.exam["own_limits"]["scores"]
    assert own_limit < far / 2
    report = check_file(right)
    assert (report.equal, report.is_own, report.limits["scores"]) == (True, True, own_limit)
    assert report.distances["scores"] < 0.002
    # The model without its rounding is nearer to the model, and is another file all the same.
    unrounded = plain(ExportGraph(model), Path("wrong.fake"), description=description)
    report = check_file(unrounded)
    assert not report.equal
    assert own_limit < report.distances["scores"] < far
    for fault in ("not normalised", "other padding"):
        graph = ExportGraph(model)
        CHANGES[fault](graph.model)
        report = check_file(plain(graph, Path("wrong.fake"), description=description, **rounding))
        assert report.cause == fault, report


@pytest.mark.slow
def test_pictures_are_small_and_drawn_unless_a_folder_is_named() -> None:
    drawn = [decoded(png) for png in small_pictures(None, (96, 96), 6)]
    assert all(max(image.shape) <= 160 and image.shape[0] != image.shape[1] for image in drawn)
    # The first of three drawings has the input's proportions: it is taken only where two are too few.
    assert [len(small_pictures(None, (96, 96), 3, fewest=fewest)) for fewest in (2, 3)] == [2, 3]
    Path("photos").mkdir()
    for number, image in enumerate(random_images(4, (300, 450))):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(f"photos/{number}.png")
    report = export_model(detector(), "own.fake", exam=ExamOptions(pictures=2, images="photos"))
    assert "The file holds 2 small pictures of photos, for whoever gets it." in report.notes
    assert report.megabytes == pytest.approx((Path("own.fake").stat().st_size + 2) / 1e6)  # with the exam
    exam = ExportedModel("own.fake").exam
    assert exam is not None
    assert [decoded(picture.png).shape for picture in exam.pictures] == [(107, 160, 3)] * 2


def test_no_exam_is_made_where_none_is_asked_for() -> None:
    exported(detector(), exam=ExamOptions(pictures=0))
    assert "exam" not in json.loads(json.loads(Path("right.fake").read_text())["description"])
    with pytest.raises(ValueError, match="it carries no exam"):
        check_file("right.fake")
    with pytest.raises(ValueError, match=r"exam\.pictures=-1: a whole number of 0 to 16"):
        ExamOptions(pictures=-1)
    with pytest.raises(ValueError, match=r"exam\.images=photos and exam\.pictures=0"):
        ExamOptions(pictures=0, images="photos")


def test_an_exam_on_which_the_model_always_decides_the_same_says_so() -> None:
    model = segmenter()
    head: Any = model.head
    with torch.no_grad():
        head.classifier.bias += torch.tensor([0, 0, 1e4, 0])
    report = export_model(model, "blind.fake", images=list(random_images(2, model.size)))
    assert any(note.startswith("The exam is blind") and "exam.images=FOLDER" in note for note in report.notes)


def test_the_pictures_that_differ_most_are_taken() -> None:
    # The last is farthest from the mean of all, then the first is farthest from it.
    answers = np.array([[0.0], [0.1], [0.2], [5.0]])
    assert most_different(answers, 2) == [3, 0]
    assert most_different(answers, 9) == [3, 0, 2, 1]
    assert best_places(np.array([[1.0, 5.0, 2.0], [1.0, -5.0, 3.0]]), 2) == [1, 2]


def test_faults_leave_the_graph_as_it_was() -> None:
    graph = ExportGraph(detector())
    image = decoded(small_pictures(None, graph.size, 2)[0])
    right = rightly(image, graph.size, "squash")
    with torch.no_grad():
        before = graph(right)[1]
        made = {name: fault.graph(fault.prepare(image))[1] for name, fault in faults(graph).items()}
        assert torch.equal(graph(right)[1], before)
    assert all(not torch.equal(scores, before) for scores in made.values())
    assert torch.equal(made["channels swapped"], graph(right.flip(1))[1])


def test_padding_as_tensorflow_pads_is_the_other_padding() -> None:
    ours, theirs = (ExportGraph(small(padding)) for padding in ("torch", "tf"))
    image = random_images(1, ours.size)
    with torch.no_grad():
        for graph, other in ((ours, theirs), (theirs, ours)):
            changed = ExportGraph(graph.model)
            CHANGES["other padding"](changed.model)
            torch.testing.assert_close(changed(image)[0], other(image)[0])


def small(padding: Padding) -> DenseModel:
    """The same weights with either padding."""
    torch.manual_seed(0)
    backbone = MobileNetV2(width_mult=0.35, features=("stride8",), padding=padding)
    head = ClassifierHead(backbone.feature_info, size=(64, 64), class_names=("ant", "bee"))
    return DenseModel(backbone, head, size=(64, 64)).eval()
