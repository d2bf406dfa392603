"""Core ML's packages: what they say, what they hold, and what they would compute."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mnv2dense.backbones.mobilenet_v2 import MobileNetV2
from mnv2dense.export.formats.coreml import export
from mnv2dense.export.formats.coreml_structure import check
from mnv2dense.export.graph import ExportGraph
from mnv2dense.heads.classifier import ClassifierHead
from mnv2dense.heads.deeplab_v3 import DeepLabV3Head
from mnv2dense.heads.ssdlite import SSDLiteHead
from mnv2dense.models.backbone import mobilenet_v2
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.runtimes.metadata import Precision

pytest.importorskip("coremltools", reason='pip install -e ".[coreml]"')
from tests.helpers.joint import joint_model
from tests.helpers.mil_interpreter import run_package
from tests.helpers.small_models import detector_on_v1, point_detector
from tests.helpers.tiny import random_images


def _backbone() -> MobileNetV2:
    torch.manual_seed(0)
    return mobilenet_v2(features=("stride8",))


def _classifier() -> DenseModel:
    backbone = _backbone()
    head = ClassifierHead(backbone.feature_info, size=(64, 64), class_names=["cat", "dog", "owl"])
    return DenseModel(backbone, head, size=(64, 64)).eval()


def _detector() -> DenseModel:
    torch.manual_seed(0)
    backbone = mobilenet_v2(width_mult=0.35, features=("stride8", "stride16"))
    head = SSDLiteHead(
        backbone.feature_info,
        size=(64, 64),
        class_names=["cat", "dog", "owl"],
        extra_channels=(16, 16, 16, 16),
        candidates=50,
        limit=5,
    )
    for predictor in head.class_predictors:
        predictor[-1].weight.data *= 30  # type: ignore[index,operator]  # scores far apart, so that their order is certain
    return DenseModel(backbone, head, size=(64, 64)).eval()


def _written(
    model: DenseModel, path: Path, precision: Precision, *, decided: bool = False, keep_float: tuple[str, ...] = ()
) -> ExportGraph:
    graph = ExportGraph(model, decided=decided)
    assert (
        export(graph, path, description=graph.describe(precision, license="Apache-2.0"), keep_float=keep_float) == path
    )
    assert [each.name for each in path.parent.iterdir()] == [path.name], "something was left beside it"
    return graph


def _relative(expected: Tensor, answer: Tensor) -> float:
    return float((expected - answer).abs().max() / expected.abs().max())


@torch.no_grad()
def test_a_classifier_says_what_it_is_and_computes_what_the_model_computes(tmp_path: Path) -> None:
    graph = _written(_classifier(), tmp_path / "model.mlpackage", "fp32")
    found = check(tmp_path / "model.mlpackage")
    assert found["input"] == (64, 64)
    assert found["outputs"] == {"scores": (1, 3)}
    assert found["operations"]["conv"] == 18
    assert found["description"].class_names == ("cat", "dog", "owl")
    assert found["description"].license == "Apache-2.0"
    assert "image" in found["description"].extra["input"]
    images = random_images(1, (64, 64))
    (scores,) = run_package(tmp_path / "model.mlpackage", images)
    assert _relative(graph(images)[0], scores) < 1e-5


@torch.no_grad()
def test_int8_is_small_and_keeps_the_modules_that_it_is_told_to(tmp_path: Path) -> None:
    path = tmp_path / "model.mlpackage"
    graph = _written(_classifier(), path, "int8")
    small = check(path)
    assert small["weights_bytes"] < 0.35 * 4 * sum(each.numel() for each in graph.parameters())
    images = random_images(1, (64, 64))
    assert 0 < _relative(graph(images)[0], run_package(path, images)[0]) < 0.02

    _written(_classifier(), path, "int8", keep_float=("backbone.blocks.5.projection",))  # takes the older one's place
    kept = check(path)
    assert kept["int8_weights"] == small["int8_weights"] - 1
    assert kept["weights_bytes"] > small["weights_bytes"]


@torch.no_grad()
def test_a_segmenter_decides_every_pixel_and_decides_in_float32(tmp_path: Path) -> None:
    backbone = _backbone()
    head = DeepLabV3Head(backbone.feature_info, size=(65, 65), class_names="abcd", align_corners=True)
    model = DenseModel(backbone, head, size=(65, 65)).eval()
    graph = _written(model, tmp_path / "model.mlpackage", "fp16", decided=True)
    assert check(tmp_path / "model.mlpackage")["outputs"] == {"labels": (1, 65, 65)}
    images = random_images(1, (65, 65))
    (labels,) = run_package(tmp_path / "model.mlpackage", images)
    assert labels.dtype == torch.int32
    assert float((labels == graph(images)[0]).double().mean()) > 0.97


@torch.no_grad()
def test_a_detector_suppresses_inside(tmp_path: Path) -> None:
    graph = _written(_detector(), tmp_path / "model.mlpackage", "fp32", decided=True)
    assert check(tmp_path / "model.mlpackage")["outputs"] == {"boxes": (1, 5, 4), "scores": (1, 5), "labels": (1, 5)}
    images = random_images(1, (64, 64))
    boxes, scores, labels = run_package(tmp_path / "model.mlpackage", images)
    expected = graph(images)
    assert _relative(expected[0], boxes) < 1e-5
    assert _relative(expected[1], scores) < 1e-5
    assert torch.equal(expected[2], labels)


@torch.no_grad()
def test_a_detector_gives_all_boxes_and_places_them_in_float32(tmp_path: Path) -> None:
    graph = _written(_detector(), tmp_path / "model.mlpackage", "fp16")
    images = random_images(1, (64, 64))
    for expected, answer in zip(graph(images), run_package(tmp_path / "model.mlpackage", images), strict=True):
        assert answer.dtype == torch.float32  # and not float16, as Core ML's tools prefer
        assert _relative(expected, answer) < 0.02


@torch.no_grad()
def test_a_head_without_anchors_gives_all_boxes(tmp_path: Path) -> None:
    graph = _written(point_detector(), tmp_path / "model.mlpackage", "fp32")
    images = random_images(1, graph.size)
    for expected, answer in zip(graph(images), run_package(tmp_path / "model.mlpackage", images), strict=True):
        assert _relative(expected, answer) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("decided", [False, True])
def test_several_heads_answer_under_their_names(tmp_path: Path, decided: bool) -> None:
    model = joint_model()
    head = model.head.parts["boxes"]  # type: ignore[index, union-attr]
    head.selection = replace(head.selection, limit=5)
    graph = _written(model, tmp_path / "model.mlpackage", "fp32", decided=decided)
    found = check(tmp_path / "model.mlpackage")
    assert tuple(found["outputs"]) == graph.output_names
    assert found["outputs"]["boxes_scores"][-1] == (5 if decided else 3)
    images = random_images(1, graph.size)
    answers = run_package(tmp_path / "model.mlpackage", images)
    for name, expected, answer in zip(graph.output_names, graph(images), answers, strict=True):
        if name == "masks_labels":
            assert (expected == answer).float().mean() > 0.999
        else:
            assert _relative(expected, answer) < 1e-5, name


@torch.no_grad()
def test_int8_of_several_heads_answers_nearly_what_each_head_does(tmp_path: Path) -> None:
    path = tmp_path / "model.mlpackage"
    graph = _written(joint_model(), path, "int8")
    images = random_images(1, graph.size)
    for name, expected, answer in zip(graph.output_names, graph(images), run_package(path, images), strict=True):
        assert 0 < _relative(expected, answer) < 0.1, name


@torch.no_grad()
def test_a_map_that_two_features_name_is_the_models_and_the_file_says_of_which_backbone(tmp_path: Path) -> None:
    import coremltools

    path = tmp_path / "model.mlpackage"
    graph = _written(detector_on_v1(), path, "fp32")
    images = random_images(1, graph.size)
    for expected, answer in zip(graph(images), run_package(path, images), strict=True):
        assert _relative(expected, answer) < 1e-5
    about = coremltools.utils.load_spec(str(path)).description.metadata
    assert about.shortDescription == "MobileNetV1 for detection: 3 classes"


def test_what_does_not_agree_with_itself_is_refused(tmp_path: Path) -> None:
    import coremltools

    path = tmp_path / "model.mlpackage"
    graph = ExportGraph(_classifier())
    lies = graph.describe("fp32")
    with pytest.raises(ValueError, match=r"its output scores is \[1, 3\], but should be \[1, 2\]"):
        export(graph, path, description=replace(lies, class_names=("cat", "dog"), category_ids=(1, 2)))
    assert not list(tmp_path.iterdir())

    _written(_classifier(), path, "fp32")
    manifest = path / "Manifest.json"
    assert coremltools.utils.load_spec(str(path)).description.metadata.license == "Apache-2.0"
    manifest.write_text(manifest.read_text()[:40])
    with pytest.raises(ValueError, match="damaged"):
        check(path)
    shutil.rmtree(path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        check(path)


def test_unknown_modules_and_suffixes_are_named(tmp_path: Path) -> None:
    graph = ExportGraph(_classifier())
    description = graph.describe("int8")
    with pytest.raises(ValueError, match=r"keep_float=backbone.stam: .* did you mean backbone.stem"):
        export(graph, tmp_path / "model.mlpackage", description=description, keep_float=["backbone.stam"])
    with pytest.raises(ValueError, match=r"model.onnx: Core ML files end in .mlpackage"):
        export(graph, tmp_path / "model.onnx", description=description)
    assert not list(tmp_path.iterdir())
