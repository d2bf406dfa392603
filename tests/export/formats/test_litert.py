"""LiteRT's files: the same answers as the model's, in floats, halves and integers."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from mnv2dense.export.formats.litert import export
from mnv2dense.export.graph import ExportGraph
from mnv2dense.runtimes.exported_model import ExportedModel
from mnv2dense.runtimes.metadata import Precision
from tests.helpers.small_models import (
    SIZE,
    calibration,
    classifier,
    detector,
    detector_on_v1,
    point_detector,
    relative,
    segmenter,
)
from tests.helpers.tiny import random_images

if find_spec("litert_torch") is None:
    pytest.skip('pip install -e ".[litert]"', allow_module_level=True)


def written(
    graph: ExportGraph, path: Path, precision: Precision = "fp32", *, keep_float: tuple[str, ...] = ()
) -> ExportedModel:
    description, seen = graph.describe(precision, license="CC0-1.0"), calibration(graph.size)
    assert export(graph, path, description=description, calibration=seen, keep_float=keep_float) == path
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name, f"{path.name}.json"]
    exported = ExportedModel(path, threads=1)
    assert exported.description.class_names == graph.model.class_names
    return exported


def operators(path: Path) -> list[tuple[str, str]]:
    """Name of the last tensor's module, and its type, of every operator."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), experimental_op_resolver_type=plain)
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    found = [tensors[operator["outputs"][0]] for operator in interpreter._get_ops_details()]
    return [(re.sub(r"^NamedGraph/whole/|:\d+$", "", each["name"]), each["dtype"].__name__) for each in found]


@pytest.fixture(scope="module")
def classifier_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier") / "model.tflite"
    written(ExportGraph(classifier()), path)
    return path


@torch.no_grad()
def test_scores_are_the_models_one_image_at_a_time(classifier_file: Path) -> None:
    exported, images = ExportedModel(classifier_file, threads=2), random_images(3, SIZE)
    assert exported.batch == 1
    (theirs,) = exported.run(images)  # which cuts the batch up
    assert relative(ExportGraph(classifier())(images)[0], theirs) < 1e-4


def test_the_file_tells_nothing_of_the_machine_and_what_xnnpack_leaves(classifier_file: Path) -> None:
    assert str(Path(__file__).parents[3]).encode() not in classifier_file.read_bytes()
    description = ExportedModel(classifier_file).description
    assert description.license == "CC0-1.0"
    # What the uint8 image goes through before anything else.
    assert {"CAST x1"} <= {*description.extra["operators_outside_delegate"]} <= {"CAST x1", "TRANSPOSE x1"}
    assert ("model/backbone/stem/2", "float32") in operators(classifier_file)


@torch.no_grad()
def test_halves_take_half_the_room(classifier_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    exported, images = written(ExportGraph(classifier()), path, "fp16"), random_images(1, SIZE)
    assert 0 < relative(ExportGraph(classifier())(images)[0], exported.run(images)[0]) < 0.01
    weights = 4 * sum(each.numel() for each in classifier().parameters())
    assert classifier_file.stat().st_size - path.stat().st_size > 0.4 * weights


@torch.no_grad()
def test_integers_but_for_what_comes_before_and_after_and_what_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    model = classifier()
    exported, images = (
        written(ExportGraph(model), path, "int8", keep_float=("backbone.blocks.1",)),
        random_images(4, SIZE),
    )
    assert 0 < relative(ExportGraph(model)(images)[0], exported.run(images)[0]) < 0.1
    types = operators(path)
    assert {kind for name, kind in types if name.startswith("model/backbone/0/depthwise")} == {"int8"}
    assert {kind for name, kind in types if name.startswith("model/backbone/1/depthwise")} == {"float32"}
    assert {kind for name, kind in types if name.startswith("model/backbone/2/depthwise")} == {"int8"}
    assert types[-1][1] == "float32"


@torch.no_grad()
def test_logits_and_label_maps_of_a_segmenter(tmp_path: Path) -> None:
    images = random_images(2, SIZE)
    for decided in (False, True):
        graph = ExportGraph(segmenter(), decided=decided)
        folder = tmp_path / str(decided)
        folder.mkdir()
        exported = written(graph, folder / "model.tflite", "int8" if decided else "fp32")
        (ours,), (theirs,) = graph(images), exported.run(images)
        if decided:
            assert theirs.dtype == torch.uint8
            assert len(ours.unique()) > 1
            assert float((ours == theirs).float().mean()) > 0.9
        else:
            assert relative(ours, theirs) < 1e-4


# Those that are selected inside: test_matrix.py.
@torch.no_grad()
def test_int8_boxes_are_placed_in_float(tmp_path: Path) -> None:
    graph = ExportGraph(detector())
    images = random_images(2, graph.size)
    exported = written(graph, tmp_path / "model.tflite", "int8")
    for ours, theirs in zip(graph(images), exported.run(images), strict=True):
        assert relative(ours, theirs) < 0.2


@torch.no_grad()
def test_a_head_without_anchors_is_near_at_int8(tmp_path: Path) -> None:
    graph = ExportGraph(point_detector())
    images = random_images(2, graph.size)
    exported = written(graph, tmp_path / "model.tflite", "int8")
    for ours, theirs in zip(graph(images), exported.run(images), strict=True):
        assert relative(ours, theirs) < 0.15


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("int8", 0.15)])
def test_a_map_that_two_features_name_is_the_models_and_near_at_int8(
    precision: Precision, tolerance: float, tmp_path: Path
) -> None:
    graph = ExportGraph(detector_on_v1())
    images = random_images(2, graph.size)
    exported = written(graph, tmp_path / "model.tflite", precision)
    for ours, theirs in zip(graph(images), exported.run(images), strict=True):
        assert relative(ours, theirs) < tolerance


def test_wrong_wishes_are_named(tmp_path: Path) -> None:
    graph = ExportGraph(classifier())
    with pytest.raises(ValueError, match=r"model\.onnx: LiteRT files end in \.tflite"):
        export(graph, tmp_path / "model.onnx", description=graph.describe("fp32"))
    with pytest.raises(ValueError, match="int8 needs calibration images"):
        export(graph, tmp_path / "model.tflite", description=graph.describe("int8"))
    with pytest.raises(ValueError, match=r"keep_float=backbone\.stern: the model has no such module; .*backbone\.stem"):
        written(graph, tmp_path / "model.tflite", "int8", keep_float=("backbone.stern",))
    assert not list(tmp_path.iterdir())


def test_a_torch_that_the_converter_does_not_know_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch, "__version__", "2.15.1+cpu")
    graph = ExportGraph(classifier())
    with pytest.raises(ImportError, match=r"needs torch < 2\.15 and litert-torch, this is torch 2\.15\.1\+cpu: pip"):
        export(graph, tmp_path / "model.tflite", description=graph.describe("fp32"))


def test_nothing_is_left_of_an_export_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(_: bytes) -> list[str]:
        raise RuntimeError("no such delegate")

    monkeypatch.setattr("mnv2dense.export.formats.litert._converted", lambda _: b"")
    monkeypatch.setattr("mnv2dense.export.formats.litert._compacted", fail)
    graph = ExportGraph(classifier())
    with pytest.raises(RuntimeError, match="no such delegate"):
        export(graph, tmp_path / "model.tflite", description=graph.describe("fp32"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("missing json", r"model\.tflite\.json is not beside it"),
        ("another size", r"it takes uint8 \[1, 3, 64, 64\], but the json beside it .* takes uint8 \[1, 3, 96, 64\]"),
        ("another task", r"images in and scores out, but the json beside it is of a file with .* and logits out"),
        ("cut short", r"no file of LiteRT, or not this one"),
        ("empty", r"no file of LiteRT, or not this one"),
    ],
)
def test_damaged_files_are_refused(classifier_file: Path, damage: str, complaint: str, tmp_path: Path) -> None:
    content, notes = classifier_file.read_bytes(), classifier_file.with_name("model.tflite.json").read_text()
    if damage == "another size":
        notes = notes.replace('"size":[64,64]', '"size":[96,64]')
    elif damage == "another task":
        notes = notes.replace('"outputs":"scores"', '"outputs":"logits"').replace("classification", "segmentation")
        notes = notes.replace('"selection":{}', '"selection": {"palette": null, "align_corners": true}')
    elif damage == "cut short":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = b""
    (tmp_path / "model.tflite").write_bytes(content)
    if damage != "missing json":
        (tmp_path / "model.tflite.json").write_text(notes)
    with pytest.raises(ValueError, match=complaint):
        ExportedModel(tmp_path / "model.tflite")


def test_other_shapes_are_refused_in_words(classifier_file: Path) -> None:
    with pytest.raises(
        ValueError, match=r"images of shape \[1, 3, 32, 64\], but the file takes uint8 \[1, 3, 64, 64\]"
    ):
        ExportedModel(classifier_file).run(torch.zeros(1, 3, 32, 64, dtype=torch.uint8))


def test_loading_is_quiet(classifier_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    scores = ExportedModel(classifier_file).run(random_images(1, SIZE))
    assert np.isfinite(scores[0].numpy()).all()
    assert capfd.readouterr() == ("", "")
