"""ONNX files of small models: the numbers of the model, with its decisions, in float32, float16 and int8."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mnv2dense.export.formats.onnx import export
from mnv2dense.export.formats.onnx_int8 import correct_biases, rounded_weight
from mnv2dense.export.graph import ExportGraph
from mnv2dense.runtimes.exported_model import ExportedModel
from mnv2dense.runtimes.metadata import KEY, Metadata, Precision
from tests.helpers.small_models import (
    SIZE,
    assert_same_boxes,
    calibration,
    classifier,
    detector,
    detector_on_v1,
    original,
    point_detector,
    relative,
    segmenter,
)
from tests.helpers.tiny import random_images

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


class Boxes(nn.Module):
    """Stands in for a detector: the first plane of an image is its two boxes, the second the scores of two classes."""

    outputs = "boxes"
    size = (4, 4)

    def __init__(self, **selection: float) -> None:
        super().__init__()
        self.model = nn.Module()
        self.selection = {"score_threshold": 0.25, "nms_threshold": 0.5, "candidates": 4, "limit": 3, **selection}

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return images[:, 0, :2].float(), images[:, 1, :2, :2].float() / 256

    def describe(self) -> Metadata:
        return Metadata(
            task="detection",
            outputs="boxes",
            precision="fp32",
            size=self.size,
            resize="squash",
            class_names=("cup", "jug"),
            category_ids=(1, 2),
            selection=self.selection,
        )

    @staticmethod
    def image(boxes: list[list[int]], scores: list[list[int]]) -> Tensor:
        image = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
        image[0, 0, :2], image[0, 1, :2, :2] = torch.tensor(boxes), torch.tensor(scores)
        return image


def written(graph: ExportGraph, path: Path, precision: Precision = "fp32", **options: Any) -> ExportedModel:  # noqa: ANN401
    export(graph, path, description=graph.describe(precision, license="CC0-1.0"), **options)
    return ExportedModel(path, threads=1)


@pytest.fixture(scope="module")
def classifier_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier") / "model.onnx"
    written(ExportGraph(classifier()), path)
    return path


def test_scores_are_the_models_for_any_number_of_pictures(classifier_file: Path) -> None:
    graph, exported = ExportGraph(classifier()), ExportedModel(classifier_file, threads=2)
    for count in (1, 3):
        images = random_images(count, SIZE)
        (theirs,) = exported.run(images)
        assert theirs.dtype == torch.float32
        assert relative(graph(images)[0], theirs) < 1e-4
    assert exported.description == graph.describe("fp32", license="CC0-1.0")


def test_the_file_holds_its_description_and_nothing_of_the_machine(classifier_file: Path) -> None:
    model = onnx.load(classifier_file)
    assert [entry.key for entry in model.metadata_props] == [KEY]
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 20)]
    assert str(Path(__file__).parents[3]).encode() not in classifier_file.read_bytes()
    assert model.graph.node[3].name.startswith("backbone.stem.0/Conv")


def test_label_maps_are_decided_inside(tmp_path: Path) -> None:
    graph = ExportGraph(segmenter(), decided=True)
    exported = written(graph, tmp_path / "model.onnx")
    images = random_images(2, SIZE)
    (ours,), (theirs,) = graph(images), exported.run(images)
    assert theirs.dtype == torch.uint8
    assert len(ours.unique()) > 1
    assert (ours == theirs).float().mean() > 0.999


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("int8", 0.15)])
def test_logits_of_any_size(precision: Precision, tolerance: float, tmp_path: Path) -> None:
    graph = ExportGraph(segmenter())
    path = tmp_path / "model.onnx"
    some = calibration() + calibration((80, 112))
    exported = written(graph, path, precision, dynamic_size=True, calibration=some)
    assert exported.description.extra["dynamic_size"] is True
    for size in (SIZE, (97, 64), (80, 112)):
        images = random_images(1, size)
        (ours,), (theirs,) = graph(images), exported.run(images)
        assert ours.shape == theirs.shape
        assert relative(ours, theirs) < tolerance


def test_fixed_shape_suppression_selects_what_the_model_selects(tmp_path: Path) -> None:
    model = detector()
    model.head.selection = replace(model.head.selection, limit=8)
    exported = written(ExportGraph(model, decided=True), tmp_path / "model.onnx")
    assert exported.description.outputs == "selected_boxes"
    assert_same_boxes(model, exported, random_images(2, (96, 96)))


def test_a_head_without_anchors_is_the_models_at_a_size_of_its_own_and_near_at_int8(tmp_path: Path) -> None:
    model = point_detector()
    graph = ExportGraph(model, size=(64, 128))
    images = random_images(2, (64, 128))
    exported = written(graph, tmp_path / "model.onnx")
    for ours, theirs in zip(graph(images), exported.run(images), strict=True):
        assert relative(ours, theirs) < 1e-4
    graph, images = ExportGraph(model), random_images(2, model.size)
    exported = written(graph, tmp_path / "small.onnx", "int8", calibration=calibration(model.size))
    for ours, theirs in zip(graph(images), exported.run(images), strict=True):
        assert relative(ours, theirs) < 0.15


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("int8", 0.15)])
def test_a_map_that_two_features_name_is_the_models_and_near_at_int8(
    precision: Precision, tolerance: float, tmp_path: Path
) -> None:
    graph = ExportGraph(detector_on_v1())
    images = random_images(2, graph.size)
    exported = written(graph, tmp_path / "model.onnx", precision, calibration=calibration(graph.size))
    for ours, theirs in zip(graph(images), exported.run(images), strict=True):
        assert relative(ours, theirs) < tolerance


def test_the_suppressing_node_selects_what_the_model_selects(tmp_path: Path) -> None:
    model = detector()
    graph = ExportGraph(model)
    exported = written(graph, tmp_path / "model.onnx", nms_node=True)
    assert exported.description.outputs == "nms_node"
    images = random_images(3, (96, 96))
    expected = graph(images)
    boxes, scores, selected = exported.run(images)
    assert relative(expected[0], boxes) < 1e-4
    assert relative(expected[1].mT, scores) < 1e-4
    assert selected.dtype == torch.int64
    assert_same_boxes(model, exported, images)


def test_the_node_drops_below_the_threshold_and_above_the_overlap_as_the_model_does(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    graph = Boxes()
    export(graph, path, description=graph.describe(), nms_node=True)  # type: ignore[arg-type]
    exported = ExportedModel(path)
    # One beside the other; 64/256 is the threshold itself, 63/256 is below it.
    apart = Boxes.image([[0, 0, 2, 4], [2, 0, 4, 4]], [[64, 200], [128, 63]])
    (found,) = exported.predict(apart, original(1, (4, 4)))
    assert found.scores.tolist() == [200 / 256, 128 / 256, 64 / 256]
    assert found.labels.tolist() == [1, 0, 0]
    assert found.boxes.tolist() == [[0, 0, 2, 4], [2, 0, 4, 4], [0, 0, 2, 4]]
    # IoU 0.5 is not above 0.5; 0.75 is.
    half = Boxes.image([[0, 0, 2, 4], [0, 0, 4, 4]], [[200, 0], [128, 0]])
    more = Boxes.image([[0, 0, 3, 4], [0, 0, 4, 4]], [[200, 0], [128, 0]])
    both = exported.predict(torch.cat([half, more]), original(2, (4, 4)))
    assert [len(found) for found in both] == [2, 1]
    # Nothing but what is above: no boxes, and no error.
    assert len(exported.predict(Boxes.image([[0, 0, 3, 4]] * 2, [[0, 0]] * 2), original(1, (4, 4)))[0]) == 0


@pytest.mark.parametrize(("option", "count"), [({"candidates": 2}, 2), ({"limit": 1}, 1)])
def test_the_node_keeps_as_many_as_the_model_does(option: dict[str, float], count: int, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    graph = Boxes(**option)
    export(graph, path, description=graph.describe(), nms_node=True)  # type: ignore[arg-type]
    apart = Boxes.image([[0, 0, 2, 4], [2, 0, 4, 4]], [[100, 200], [128, 90]])
    (found,) = ExportedModel(path).predict(apart, original(1, (4, 4)))
    assert found.scores.tolist() == [200 / 256, 128 / 256][:count]


def test_half_the_bytes_at_fp16_and_float32_outputs(classifier_file: Path, tmp_path: Path) -> None:
    graph = ExportGraph(classifier())
    path = tmp_path / "half.onnx"
    exported = written(graph, path, "fp16")
    images = random_images(2, SIZE)
    (theirs,) = exported.run(images)
    assert theirs.dtype == torch.float32
    assert relative(graph(images)[0], theirs) < 2e-2
    assert path.stat().st_size < 0.65 * classifier_file.stat().st_size
    assert next(graph.model.parameters()).dtype == torch.float32


def test_int8_is_integers_between_normalisation_and_decoding(tmp_path: Path) -> None:
    model = detector()
    graph = ExportGraph(model)
    exported = written(graph, tmp_path / "model.onnx", "int8", calibration=calibration((96, 96)))
    images = random_images(2, (96, 96))
    for ours, theirs in zip(graph(images), exported.run(images), strict=True):
        assert theirs.dtype == torch.float32
        assert relative(ours, theirs) < 0.25
    inner = onnx.load(tmp_path / "model.onnx").graph
    constants = {each.name: each for each in inner.initializer}
    made_by = {output: node for node in inner.node for output in node.output}
    convolutions = [node for node in inner.node if node.op_type == "Conv"]
    assert len(convolutions) == sum(isinstance(module, nn.Conv2d) for module in graph.model.modules())
    for node in convolutions:
        assert made_by[node.input[0]].op_type == "DequantizeLinear"
        weight, scale, _ = made_by[node.input[1]].input
        assert constants[weight].data_type == onnx.TensorProto.INT8
        assert list(constants[scale].dims) == [constants[weight].dims[0]]  # one for each output channel
    # Activations are part of the range; images are normalised and boxes decoded in float.
    assert not any(node.op_type == "Clip" and node.name.startswith("backbone") for node in inner.node)
    for node in inner.node:
        if node.name.startswith(("normalize", "decode")):
            assert all(made_by[name].op_type != "QuantizeLinear" for name in node.input if name in made_by)


def test_named_modules_stay_float(tmp_path: Path) -> None:
    graph = ExportGraph(classifier())
    keep = ["backbone.stem", "backbone.blocks.1", "head.classifier"]
    exported = written(graph, tmp_path / "model.onnx", "int8", calibration=calibration(), keep_float=keep)
    inner = onnx.load(tmp_path / "model.onnx").graph
    integers = {node.output[0] for node in inner.node if node.op_type == "DequantizeLinear"}
    layers = [node for node in inner.node if node.op_type in ("Conv", "Gemm")]
    in_float = [node.name.split("/")[0] for node in layers if node.input[1] not in integers]
    assert in_float == [
        "backbone.stem.0",
        *(f"backbone.blocks.1.{part}.0" for part in ("expansion", "depthwise", "projection")),
        "head.classifier",
    ]
    images = random_images(1, SIZE)
    assert relative(graph(images)[0], exported.run(images)[0]) < 0.1


def test_everything_in_float_is_the_float_file(tmp_path: Path) -> None:
    graph = ExportGraph(classifier())
    path = tmp_path / "model.onnx"
    exported = written(graph, path, "int8", calibration=calibration(), keep_float=["backbone", "head"])
    images = random_images(1, SIZE)
    assert relative(graph(images)[0], exported.run(images)[0]) < 1e-4


def test_a_reduced_range_is_64_either_way(tmp_path: Path) -> None:
    # Two products of 255 and 64 fit into 16 bits, in which x86 CPUs without VNNI add them; of 255 and 127 they do not.
    for reduce_range, largest in ((False, 127), (True, 64)):
        exported = written(
            ExportGraph(classifier()),
            tmp_path / "model.onnx",
            "int8",
            calibration=calibration(),
            reduce_range=reduce_range,
        )
        weights = [
            onnx.numpy_helper.to_array(constant).astype(int)
            for constant in onnx.load(exported.path).graph.initializer
            if constant.data_type == onnx.TensorProto.INT8 and len(constant.dims) == 4
        ]
        assert len(weights) > 10
        assert max(np.abs(weight).max() for weight in weights) == largest


def test_each_output_channel_is_rounded_to_its_own_steps() -> None:
    weight = np.array([[127.0, 0.6], [1.27, 0.006], [0.0, 0.0]], np.float32)
    np.testing.assert_allclose(rounded_weight(weight), [[127, 1], [1.27, 0.01], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(rounded_weight(np.array([[64.0, 0.6]], np.float32), 64), [[64, 1]])


def test_the_bias_takes_back_what_rounding_does_to_the_mean() -> None:
    # Steps of 1 and of 0.01: 0.6 becomes 1 and 0.006 becomes 0.01. Inputs are 5 and 10 on average.
    weight = np.array([[127, 0.6], [1.27, 0.006]], np.float32)
    bias = np.array([1, 2], np.float32)
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]>
        layer (float[N, 2] x, float[2, 2] weight, float[2] bias) => (float[N, 2] y)
        { y = Gemm <transB = 1> (x, weight, bias) }"""
    )
    model.graph.initializer.extend(map(onnx.numpy_helper.from_array, (weight, bias), ("weight", "bias")))
    correct_biases(model, model.graph.node, {"x": np.array([5.0, 10.0])})
    np.testing.assert_allclose(
        onnx.numpy_helper.to_array(model.graph.initializer[1]), [1 - 0.4 * 10, 2 - 0.004 * 10], rtol=1e-5
    )


def test_options_that_cannot_be_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    graph = ExportGraph(classifier())
    path = tmp_path / "model.onnx"
    fp32, int8 = graph.describe("fp32"), graph.describe("int8")
    with pytest.raises(ValueError, match=r"model\.bin: ONNX files end in \.onnx"):
        export(graph, tmp_path / "model.bin", description=fp32)
    with pytest.raises(ValueError, match=r"dynamic_size=true is for logits, and this graph gives scores"):
        export(graph, path, description=fp32, dynamic_size=True)
    with pytest.raises(ValueError, match=r"nms_node=true is for boxes before any suppression"):
        export(graph, path, description=fp32, nms_node=True)
    with pytest.raises(ValueError, match=r"reduce_range=true is about int8's weights, and the precision is fp32"):
        export(graph, path, description=fp32, reduce_range=True)
    with pytest.raises(ValueError, match=r"int8 needs calibration images"):
        export(graph, path, description=int8, calibration=[])
    with pytest.raises(ValueError, match=r"keep_float=backbone\.stm: .* did you mean backbone\.stem"):
        export(graph, path, description=int8, calibration=calibration(), keep_float=["backbone.stm"])
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = ExportGraph(classifier())
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(
        ImportError, match=r'exporting to ONNX needs onnx and onnxscript: pip install "mnv2dense\[onnx\]"'
    ):
        export(graph, tmp_path / "model.onnx", description=graph.describe("fp32"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "other.onnx").write_bytes(b"")
    with pytest.raises(ImportError, match=r'running ONNX files needs onnxruntime: pip install "mnv2dense\[onnx\]"'):
        ExportedModel(tmp_path / "other.onnx")


def test_files_that_are_not_ours_are_refused(classifier_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(classifier_file.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"model\.onnx: not an ONNX file, or a damaged one"):
        ExportedModel(path)
    model = onnx.load(classifier_file)
    model.metadata_props[0].value = "{"
    onnx.save(model, path)
    with pytest.raises(ValueError, match=r"model\.onnx: its description is no json .* export it again"):
        ExportedModel(path)
    whole = ExportGraph(classifier()).describe("fp32")
    model.metadata_props[0].value = replace(whole, size=(32, 64)).to_json()
    onnx.save(model, path)
    with pytest.raises(
        ValueError, match=r"takes tensor\(uint8\) .*64, 64\], but its description says .*32, 64\]; export"
    ):
        ExportedModel(path)
    model.metadata_props[0].value = ExportGraph(segmenter()).describe("fp32").to_json()
    onnx.save(model, path)
    with pytest.raises(ValueError, match=r"its outputs are scores, but its description says logits"):
        ExportedModel(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    with pytest.raises(ValueError, match=r"model\.onnx: it does not say what goes in and out"):
        ExportedModel(path)
