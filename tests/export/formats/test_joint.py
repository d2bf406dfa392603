"""One file of several heads for each runtime: gated head by head, and used as the model is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mnv2dense import Predictor
from mnv2dense.evaluation.score import metric_of
from mnv2dense.export import export_model
from mnv2dense.export.gate import RefusedExportError, tolerance_of
from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.parity import Tolerance, compare
from mnv2dense.runtimes import ExportedModel
from tests.helpers.joint import SIZE, joint_model
from tests.helpers.small_models import calibration, original
from tests.helpers.tiny import random_images

FILES = {
    "onnx": "model.onnx",
    "openvino": "model.xml",
    "executorch": "model.pte",
    "litert": "model.tflite",
    "ncnn": "model.ncnn.param",
}
NEEDS = {"onnx": "onnxscript", "openvino": "nncf", "executorch": "executorch", "litert": "litert_torch", "ncnn": "pnnx"}


# ncnn has no operators to decide with.
DECIDED = {name: (False,) if name == "ncnn" else (False, True) for name in FILES}


def photos(count: int = 4) -> list[Any]:
    return [image.permute(1, 2, 0).numpy() for image in random_images(count, SIZE, seed=1)]


@pytest.mark.parametrize(("exporter", "decided"), [(name, decided) for name in FILES for decided in DECIDED[name]])
def test_every_runtime_gives_boxes_masks_and_classes_out_of_one_file(
    exporter: str, decided: bool, tmp_path: Path
) -> None:
    pytest.importorskip(NEEDS[exporter])
    model = joint_model(scene=True)
    path = tmp_path / FILES[exporter]
    report = export_model(model, path, images=photos(), nms=decided, labels=decided)
    assert report.parity is not None
    assert set(report.parity.parts) == {"boxes", "masks", "scene"}
    assert report.parity.parts["boxes"].counted > 3
    forms = {"boxes": "selected_boxes", "masks": "labels"} if decided else {"boxes": "boxes", "masks": "logits"}
    exported = ExportedModel(path)
    assert exported.description.parts == {**forms, "scene": "scores"}
    assert exported.class_names == model.class_names
    images = random_images(2, SIZE, seed=1)
    for ours, theirs in zip(
        model.predict(images, original(2, SIZE)), exported.predict(images, original(2, SIZE)), strict=True
    ):
        assert len(ours["boxes"]) == len(theirs["boxes"]) > 3
        torch.testing.assert_close(ours["boxes"].scores, theirs["boxes"].scores, rtol=1e-4, atol=1e-5)  # type: ignore[union-attr]
        assert (ours["masks"].labels == theirs["masks"].labels).float().mean() > 0.999  # type: ignore[union-attr]
        torch.testing.assert_close(ours["scene"].scores, theirs["scene"].scores, rtol=1e-4, atol=1e-5)  # type: ignore[union-attr]
    assert metric_of(exported).parts.keys() == {"boxes", "masks", "scene"}  # type: ignore[attr-defined]
    found = Predictor(path)(np.zeros((50, 70, 3), np.uint8))
    assert found["masks"].labels.shape == (50, 70)
    if not decided:
        mine, its = model.decoded(images), exported.decoded(images)
        torch.testing.assert_close(mine["boxes"].scores, its["boxes"].scores, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(mine["masks"].logits, its["masks"].logits, rtol=1e-3, atol=1e-4)
    else:
        with pytest.raises(ValueError, match="decides inside and tells no more"):
            exported.decoded(images)


@pytest.mark.parametrize("exporter", [name for name in FILES if name != "ncnn"])
def test_int8_is_of_both_heads(exporter: str, tmp_path: Path) -> None:
    pytest.importorskip(NEEDS[exporter])
    model = joint_model()
    path = tmp_path / FILES[exporter]
    lenient = tolerance_of(model, "int8", agreement=0.0)
    report = export_model(model, path, precision="int8", calibration=photos(8), tolerance=lenient)
    assert report.parity is not None
    for name, least in (("boxes", 0.3), ("masks", 0.6)):  # of random weights
        agreement = report.parity.parts[name].agreement
        assert agreement is not None
        assert agreement > least


def test_onnx_a_head_that_answers_otherwise_is_named(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    model = joint_model()
    graph = ExportGraph(model)
    path = tmp_path / "model.onnx"
    export_model(model, path, images=photos())
    with torch.no_grad():
        graph.model.head.parts["masks"].classifier.bias[1] += 30  # type: ignore[index, union-attr]
    parity = compare(graph, ExportedModel(path), calibration(SIZE))
    failures = parity.failures(tolerance_of(model, "fp32"))
    assert failures
    assert all(failure.startswith("masks: ") for failure in failures)
    assert parity.agreement == parity.parts["masks"].agreement
    assert parity.parts["boxes"].agreement == 1.0


def test_onnx_a_file_is_refused_where_one_head_cannot_be_judged(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    model = joint_model()
    with torch.no_grad():
        for name, parameter in model.head.parts["boxes"].named_parameters():  # type: ignore[index, union-attr]
            if "class" in name and parameter.ndim == 4 and parameter.shape[-1] == 1:
                parameter.zero_()
    blind = Tolerance(difference=None, agreement=0.9)  # numbers may differ, so boxes have to be there
    tolerance = replace(blind, parts={"boxes": blind, "masks": blind})
    with pytest.raises(RefusedExportError, match="finds no box of score"):
        export_model(model, tmp_path / "model.onnx", images=photos(), tolerance=tolerance)
