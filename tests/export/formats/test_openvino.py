"""OpenVINO files of small models: the numbers of the model, with its decisions, in float32, float16 and int8."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mnv2dense.export.formats.openvino import export
from mnv2dense.export.graph import ExportGraph
from mnv2dense.quantization.bias_correction import bias_corrected
from mnv2dense.quantization.targets import TARGETS
from mnv2dense.runtimes.exported_model import ExportedModel
from mnv2dense.runtimes.metadata import Precision
from tests.helpers.small_models import (
    SIZE,
    assert_same_boxes,
    calibration,
    classifier,
    detector,
    detector_on_v1,
    point_detector,
    relative,
    segmenter,
)
from tests.helpers.tiny import random_images

openvino = pytest.importorskip("openvino")
pytest.importorskip("nncf")


def written(graph: ExportGraph, path: Path, precision: Precision = "fp32", **options: Any) -> ExportedModel:  # noqa: ANN401
    export(graph, path, description=graph.describe(precision, license="CC0-1.0"), **options)
    return ExportedModel(path, threads=1)


@pytest.fixture(scope="module")
def classifier_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier") / "model.xml"
    written(ExportGraph(classifier()), path)
    return path


def test_scores_are_the_models_for_any_number_of_pictures(classifier_file: Path) -> None:
    graph, exported = ExportGraph(classifier()), ExportedModel(classifier_file, threads=1)
    for count in (1, 3, 2):
        images = random_images(count, SIZE)
        (theirs,) = exported.run(images)
        assert theirs.dtype == torch.float32
        assert relative(graph(images)[0], theirs) < 1e-4
    assert exported.description == graph.describe("fp32", license="CC0-1.0")


def test_the_files_hold_their_description_and_nothing_of_the_machine(classifier_file: Path) -> None:
    layers = classifier_file.read_text()
    assert "CC0-1.0" in layers
    assert 'name="backbone.stem.0' in layers
    for trace in (str(Path(__file__).parents[3]), "/tmp/", "framework_version", "conversion_parameters"):
        assert trace not in layers
    assert classifier_file.with_suffix(".bin").stat().st_size < 1e6


def test_one_model_gives_the_same_files_twice(classifier_file: Path, tmp_path: Path) -> None:
    written(ExportGraph(classifier()), tmp_path / "again.xml")
    name = re.compile(r"again|model")
    assert name.sub("", (tmp_path / "again.xml").read_text()) == name.sub("", classifier_file.read_text())
    assert (tmp_path / "again.bin").read_bytes() == classifier_file.with_suffix(".bin").read_bytes()


def test_logits_and_label_maps_are_the_models(tmp_path: Path) -> None:
    images = random_images(2, SIZE)
    graph = ExportGraph(segmenter())
    (ours,), (theirs,) = graph(images), written(graph, tmp_path / "logits.xml").run(images)
    assert relative(ours, theirs) < 1e-4
    decided = ExportGraph(segmenter(), decided=True)
    (ours,), (theirs,) = decided(images), written(decided, tmp_path / "labels.xml").run(images)
    assert theirs.dtype == torch.uint8
    assert len(ours.unique()) > 1
    assert (ours == theirs).float().mean() > 0.999


def test_boxes_are_the_models_and_selected_outside(tmp_path: Path) -> None:
    model = detector()
    exported = written(ExportGraph(model), tmp_path / "model.xml")
    assert exported.description.outputs == "boxes"  # inside: test_matrix.py
    assert_same_boxes(model, exported, random_images(2, model.size))


def test_a_head_without_anchors_gives_the_models_boxes(tmp_path: Path) -> None:
    model = point_detector()
    graph = ExportGraph(model, size=(72, 104))  # maps that are no halves of each other
    exported = written(graph, tmp_path / "model.xml")
    assert_same_boxes(graph.model, exported, random_images(2, (72, 104)))


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("int8", 0.15)])
def test_a_map_that_two_features_name_is_the_models_and_near_at_int8(
    precision: Precision, tolerance: float, tmp_path: Path
) -> None:
    graph = ExportGraph(detector_on_v1())
    images = random_images(2, graph.size)
    exported = written(graph, tmp_path / "model.xml", precision, calibration=calibration(graph.size))
    for ours, theirs in zip(graph(images), exported.run(images), strict=True):
        assert relative(ours, theirs) < tolerance


def test_at_fp16_weights_take_half_the_room(classifier_file: Path, tmp_path: Path) -> None:
    graph, images = ExportGraph(classifier()), random_images(2, SIZE)
    exported = written(graph, tmp_path / "half.xml", "fp16")
    (ours,), (theirs,) = graph(images), exported.run(images)
    assert relative(ours, theirs) < 0.05
    half, whole = (path.with_suffix(".bin").stat().st_size for path in (tmp_path / "half.xml", classifier_file))
    assert half < 0.6 * whole


def test_at_int8_answers_are_near_and_modules_can_stay_in_float(tmp_path: Path) -> None:
    graph, images = ExportGraph(segmenter()), random_images(2, SIZE)
    exported = written(graph, tmp_path / "int8.xml", "int8", calibration=calibration(count=8))
    (ours,), (theirs,) = graph(images), exported.run(images)
    assert 1e-4 < relative(ours, theirs) < 0.15
    assert kernels(tmp_path / "int8.xml") == {"i8"}
    kept = written(graph, tmp_path / "kept.xml", "int8", calibration=calibration(), keep_float=["backbone", "head"])
    assert relative(ours, kept.run(images)[0]) < 1e-4
    assert kernels(tmp_path / "kept.xml") == {"f32"}
    written(graph, tmp_path / "head.xml", "int8", calibration=calibration(), keep_float=["head"])
    assert kernels(tmp_path / "head.xml") == {"i8", "f32"}
    # Depthwise convolutions included, which nncf's own correction leaves out.
    corrected, plain = biases(tmp_path / "int8.xml"), biases(tmp_path / "kept.xml")
    shifted = {name: not np.allclose(corrected[name], plain[name], atol=1e-5) for name in corrected.keys() & plain}
    assert {shifted[name] for name in shifted if ".depthwise." in name} == {True}
    assert sum(shifted.values()) > 0.8 * len(shifted)
    # Once: the file's biases are those of the graph that was corrected.
    once = bias_corrected(graph, calibration(count=8), target=TARGETS["per_channel"])
    written(once, tmp_path / "once.xml")
    expected = biases(tmp_path / "once.xml")
    for name in corrected.keys() & expected.keys():
        np.testing.assert_allclose(corrected[name], expected[name], atol=1e-5)


def biases(path: Path) -> dict[str, Any]:
    """What is added to the output of each convolution, by its name."""
    found = {}
    for operator in openvino.Core().read_model(path).get_ordered_ops():
        if operator.get_type_name() == "Add" and "Convolution" in operator.input_value(0).get_node().get_type_name():
            source = operator.input_value(1).get_node()
            while source.get_type_name() != "Constant":
                source = source.input_value(0).get_node()
            found[operator.get_friendly_name()] = source.data.ravel().copy()
    return found


def kernels(path: Path) -> set[str]:
    """The element types that the weights of convolutions are stored in."""
    found = set()
    for operator in openvino.Core().read_model(path).get_ordered_ops():
        if "Convolution" in operator.get_type_name():
            source = operator.input_value(1).get_node()
            while source.get_type_name() != "Constant":
                source = source.input_value(0).get_node()
            found.add(source.get_element_type().get_type_name())
    return found


def test_a_clamp_goes_only_where_the_range_clamps_as_well(tmp_path: Path) -> None:
    graph, images = ExportGraph(classifier()), torch.full((1, 3, *SIZE), 255, dtype=torch.uint8)
    # Dark images show small ranges; a bright one reaches beyond them, where ReLU6 or the range must stop it.
    dark = [image // 8 for image in calibration()]
    exported = written(graph, tmp_path / "model.xml", "int8", calibration=dark)
    (scores,) = exported.run(images)
    assert torch.isfinite(scores).all()
    for operator in openvino.Core().read_model(tmp_path / "model.xml").get_ordered_ops():
        if operator.get_type_name() == "FakeQuantize":
            low, high = (operator.input_value(end).get_node().data for end in (1, 2))
            assert np.isfinite(low).all()
            assert (high > low).all()


def test_wrong_requests_are_refused(tmp_path: Path) -> None:
    graph = ExportGraph(classifier())
    for options, said in (
        ({}, "int8 needs calibration images"),
        ({"calibration": calibration(), "keep_float": ["backbone.stern"]}, "did you mean backbone.stem"),
    ):
        with pytest.raises(ValueError, match=said):
            export(graph, tmp_path / "model.xml", description=graph.describe("int8"), **options)
    with pytest.raises(ValueError, match=r"OpenVINO files end in \.xml"):
        export(graph, tmp_path / "model.onnx", description=graph.describe("fp32"))
    assert not list(tmp_path.iterdir())


def test_wrong_files_are_refused(classifier_file: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.xml"
    alone.write_bytes(classifier_file.read_bytes())
    with pytest.raises(ValueError, match=r"alone\.bin, its weights, is missing"):
        ExportedModel(alone)
    alone.with_suffix(".bin").write_bytes(classifier_file.with_suffix(".bin").read_bytes())
    alone.write_bytes(classifier_file.read_bytes()[:2000])
    with pytest.raises(ValueError, match="not an OpenVINO file, or a damaged one"):
        ExportedModel(alone)
    resized = classifier_file.read_text().replace("size&quot;:[64,64]", "size&quot;:[32,64]")
    assert resized != classifier_file.read_text()
    alone.write_text(resized)
    with pytest.raises(ValueError, match=r"takes images of \[3, 64, 64\], but its description says \[3, 32, 64\]"):
        ExportedModel(alone)
    alone.write_text(classifier_file.read_text().replace("mnv2dense", "somebody"))
    with pytest.raises(ValueError, match="does not say what goes in and out"):
        ExportedModel(alone)


@pytest.mark.parametrize("package", ["openvino", "nncf"])
def test_an_absent_package_is_named(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    graph = ExportGraph(classifier())
    with pytest.raises(ImportError, match=r'pip install "mnv2dense\[openvino\]"'):
        export(graph, tmp_path / "model.xml", description=graph.describe("int8"), calibration=calibration())
