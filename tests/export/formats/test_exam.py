"""Faults planted in files of every runtime, each named by the exam that the file carries; right files pass."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from mnv2dense import check_file, export_model
from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.parity import Tolerance
from mnv2dense.models.normalize import Normalize
from mnv2dense.runtimes.exported_model import ExportedModel
from mnv2dense.runtimes.formats import FORMATS, runtime_module
from tests.helpers.exam import PLANTED, flip, plant
from tests.helpers.small_models import SIZE, classifier, detector
from tests.helpers.tiny import random_images

pytestmark = pytest.mark.slow

NEEDS = {"onnx": "onnxscript", "openvino": "nncf", "executorch": "executorch", "litert": "litert_torch", "ncnn": "pnnx"}


@pytest.mark.parametrize("exporter", NEEDS)
def test_four_faults_are_named_and_a_right_file_passes(exporter: str, tmp_path: Path) -> None:
    pytest.importorskip(NEEDS[exporter])
    model = detector()
    # Of three values that differ; equal ones a converter makes one.
    model.normalize = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    right, wrong = (tmp_path / f"{name}{FORMATS[exporter].suffix}" for name in ("right", "wrong"))
    export_model(model, right, images=list(random_images(2, model.size)))
    report = check_file(right)
    assert report.equal, report.lines()
    assert report.stored > 10
    assert report.lines()[0].startswith(f"equal: {right} answers its 3 pictures as the model did")
    for fault in PLANTED:
        plant(ExportGraph(model), right, wrong, fault)
        report = check_file(wrong)
        assert (report.equal, report.cause) == (False, fault), report.lines()
        assert report.lines()[1].startswith(f"likely cause: {fault}: ")
    constants = dict(importlib.import_module(runtime_module(exporter)).constants(right))
    if delegate := constants.pop("delegate 0", None):  # ExecuTorch's: a program of its own
        flip(right, wrong, delegate)
        with pytest.raises(ValueError, match=r"cannot run the file.* and delegate 0 is not as written; export it"):
            check_file(wrong)
    name = max(constants, key=lambda name: len(constants[name]))
    flip(right, wrong, constants[name])
    report = check_file(wrong)
    assert (report.equal, report.cause, report.changed) == (False, None, (name,))
    assert report.lines()[1] == f"likely cause: weights changed after export: {name} is not as written"


@pytest.mark.parametrize("exporter", [name for name in NEEDS if name != "ncnn"])
def test_a_right_file_of_integers_passes(exporter: str, tmp_path: Path) -> None:
    pytest.importorskip(NEEDS[exporter])
    path = tmp_path / f"right{FORMATS[exporter].suffix}"
    loose = Tolerance(difference=None, agreement=0)  # of noise; what the exam says is judged here
    export_model(
        classifier(), path, precision="int8", calibration=list(random_images(4, SIZE, seed=1)), tolerance=loose
    )
    exam = ExportedModel(path).description.exam
    assert 1e-3 < exam["own_limits"]["scores"] <= exam["limits"]["scores"] < 0.5
    report = check_file(path)
    assert (report.equal, report.is_own) == (True, True), report.lines()
