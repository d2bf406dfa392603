"""ncnn's files: the same answers as the model's, in floats and in halves of weights."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from mnv2dense import Predictor
from mnv2dense.export import ExportOptions, export_model
from mnv2dense.export.formats.ncnn import WRITER, export
from mnv2dense.export.gate import RefusedExportError
from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.layer_bisect import CutGraph
from mnv2dense.export.parity import Tolerance
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.runtimes.exported_model import ExportedModel
from mnv2dense.runtimes.metadata import Outputs, Precision
from tests.helpers.small_models import (
    SIZE,
    assert_same_boxes,
    classifier,
    detector,
    detector_on_v1,
    point_detector,
    relative,
    segmenter,
)
from tests.helpers.tiny import random_images

if find_spec("pnnx") is None or find_spec("ncnn") is None:
    pytest.skip('pip install -e ".[ncnn]"', allow_module_level=True)

FILES = ["model.ncnn.bin", "model.ncnn.param", "model.ncnn.param.json"]


def written(graph: ExportGraph | CutGraph, path: Path, precision: Precision = "fp32") -> ExportedModel:
    assert export(graph, path, description=graph.describe(precision, license="CC0-1.0")) == path  # type: ignore[arg-type]  # a word of the parameters
    assert sorted(each.name for each in path.parent.iterdir()) == FILES
    return ExportedModel(path, threads=1)


@pytest.fixture(scope="module")
def classifier_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier") / "model.ncnn.param"
    written(ExportGraph(classifier()), path)
    return path


@torch.no_grad()
def test_scores_are_the_models_one_image_at_a_time(classifier_file: Path) -> None:
    exported, images = ExportedModel(classifier_file, threads=2), random_images(3, SIZE)
    assert (exported.batch, exported.runtime) == (1, "ncnn")
    (theirs,) = exported.run(images)  # which cuts the batch up
    assert relative(ExportGraph(classifier())(images)[0], theirs) < 1e-4


def test_the_file_says_what_goes_in_and_nothing_of_the_machine(classifier_file: Path) -> None:
    layers = classifier_file.read_text()
    assert "Input in0 0 1 images 0=64 1=64 2=3\nBatchNorm" in layers
    assert str(Path(__file__).parents[3]) not in layers
    said = json.loads(classifier_file.with_name(FILES[2]).read_text())
    assert said["license"] == "CC0-1.0"
    assert said["extra"]["input"].startswith("float32 [3, H, W] of the image's values 0..255")


@pytest.mark.parametrize("make", [segmenter, detector, point_detector, detector_on_v1])
@torch.no_grad()
def test_logits_and_boxes_are_the_models(make: type[DenseModel], tmp_path: Path) -> None:
    model = make()  # type: ignore[call-arg]  # each has its own options
    graph = ExportGraph(model)
    images = random_images(2, graph.size)
    exported = written(graph, tmp_path / FILES[1])
    for ours, theirs in zip(graph(images), exported.run(images), strict=True):
        assert ours.shape == theirs.shape
        assert relative(ours, theirs) < 1e-4
    if make is detector:
        assert_same_boxes(model, exported, images)


@torch.no_grad()
def test_halves_take_half_the_room(classifier_file: Path, tmp_path: Path) -> None:
    exported, images = written(ExportGraph(classifier()), tmp_path / FILES[1], "fp16"), random_images(1, SIZE)
    assert 0 < relative(ExportGraph(classifier())(images)[0], exported.run(images)[0]) < 0.01
    before, after = ((path / FILES[0]).stat().st_size for path in (classifier_file.parent, tmp_path))
    assert after < 0.6 * before


@torch.no_grad()
def test_a_graph_in_groups_is_normalised_strip_by_strip(tmp_path: Path) -> None:
    graph, images = ExportGraph(classifier()), random_images(1, SIZE)
    assert relative(graph(images)[0], written(graph.in_groups(3), tmp_path / FILES[1]).run(images)[0]) < 1e-4


@pytest.mark.parametrize(("layer", "outputs"), [("normalize", "logits"), ("head.projection", "logits")])
@torch.no_grad()
def test_a_graph_cut_short_is_written_too(layer: str, outputs: Outputs, tmp_path: Path) -> None:
    cut = CutGraph(ExportGraph(segmenter()), layer, outputs).eval()
    images = random_images(1, SIZE)
    assert relative(cut(images)[0], written(cut, tmp_path / FILES[1]).run(images)[0]) < 1e-4


def test_the_gate_takes_it_and_its_file_stands_in_the_models_place(tmp_path: Path) -> None:
    photos = [image.permute(1, 2, 0).numpy() for image in random_images(2, (80, 90))]
    report = export_model(segmenter(), tmp_path / FILES[1], images=photos)
    assert report.parity is not None
    assert (report.exporter, report.parity.agreement) == ("ncnn", 1.0)
    found = Predictor(tmp_path / FILES[1], threads=1)(photos[0])
    assert found.labels.shape == (80, 90)
    assert (found.labels == Predictor(segmenter(), device="cpu")(photos[0]).labels).float().mean() > 0.999


def test_a_refusal_names_where_file_and_model_part(tmp_path: Path) -> None:
    photos = [image.permute(1, 2, 0).numpy() for image in random_images(2, SIZE)]
    strict = Tolerance(difference=1e-12, agreement=0.9)
    with pytest.raises(RefusedExportError, match="every layer agrees"):
        export_model(classifier(), tmp_path / FILES[1], images=photos, tolerance=strict)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"precision=int8: .* come in no package; take fp16, or another exporter"):
        ExportOptions(exporter="ncnn", precision="int8")
    with pytest.raises(ValueError, match=r"nms=true: ncnn has no operators .* leave nms out\. tools/predict\.py"):
        ExportOptions(exporter="ncnn", nms=True)
    with pytest.raises(ValueError, match=r"labels=true: ncnn has no operator .* leave labels out\. tools/predict\.py"):
        ExportOptions(exporter="ncnn", labels=True)
    graph = ExportGraph(detector(), decided=True)
    with pytest.raises(ValueError, match="nms=true: ncnn has no operators"):
        export(graph, tmp_path / FILES[1], description=graph.describe("fp32"))
    with pytest.raises(ValueError, match=r"model\.param: ncnn files end in \.ncnn\.param"):
        export(graph, tmp_path / "model.param", description=graph.describe("fp32"))
    assert not list(tmp_path.iterdir())


def test_an_operator_that_ncnn_lacks_is_named_and_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("mnv2dense.export.formats.ncnn.WRITER", replace(WRITER, refused_outputs={}))
    graph = ExportGraph(segmenter(), decided=True)
    with pytest.raises(RuntimeError, match=r"pnnx knows no operator of ncnn for Tensor\.to, torch\.argmax"):
        export(graph, tmp_path / FILES[1], description=graph.describe("fp32"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("missing json", r"model\.ncnn\.param\.json is not beside it"),
        ("missing weights", r"model\.ncnn\.bin, its weights, is missing"),
        ("another size", r"takes images of \[64, 64\], but the json beside it is of a file that takes \[96, 64\]"),
        (
            "other outputs",
            r"images in and found out, but the json beside it is of a file with images in and scores out",
        ),
        ("short weights", r"ncnn cannot read model\.ncnn\.bin"),
        ("others' layers", r"it does not say what goes in"),
        ("empty", r"it does not say what goes in"),
    ],
)
def test_damaged_files_are_refused(classifier_file: Path, damage: str, complaint: str, tmp_path: Path) -> None:
    weights, layers, notes = (classifier_file.with_name(name).read_bytes() for name in FILES)
    if damage == "another size":
        notes = notes.replace(b'"size":[64,64]', b'"size":[96,64]')
    elif damage == "other outputs":
        layers = layers.replace(b" scores ", b" found ")
    elif damage == "short weights":
        weights = weights[: len(weights) // 2]
    elif damage == "others' layers":
        layers = layers.replace(b"images", b"data")
    elif damage == "empty":
        layers = b""
    for name, content in zip(FILES, (weights, layers, notes), strict=True):
        if damage != f"missing {'json' if name == FILES[2] else 'weights' if name == FILES[0] else ''}":
            (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        ExportedModel(tmp_path / FILES[1])


def test_images_of_another_size_are_refused(classifier_file: Path) -> None:
    with pytest.raises(ValueError, match=r"the file takes uint8 \[1, 3, 64, 64\]"):
        ExportedModel(classifier_file).run(random_images(1, (32, 64)))
    assert np.isfinite(ExportedModel(classifier_file).run(random_images(1, SIZE))[0].numpy()).all()
