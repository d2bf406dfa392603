"""int8 files for devices with one scale for each weight tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mnv2dense.export.gate import export_graph
from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.options import ExportOptions
from mnv2dense.export.parity import Tolerance
from tests.helpers.small_models import calibration, classifier

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "exporter",
    [
        pytest.param("litert", marks=pytest.mark.needs("litert_torch")),
        pytest.param("executorch", marks=pytest.mark.needs("executorch")),
    ],
)
def test_a_file_of_one_scale_for_each_tensor_answers_as_its_model(exporter: str, tmp_path: Path) -> None:
    asked = ExportOptions(exporter=exporter, precision="int8", target="per_tensor", threads=1)
    path = tmp_path / f"model{asked.suffix}"
    report = export_graph(
        ExportGraph(classifier()),
        path,
        asked,
        images=calibration(),
        images_from="noise",
        calibration=calibration(),
        tolerance=Tolerance(difference=None, agreement=0),
    )
    assert report.description.extra["target"] == "per_tensor"
    assert report.parity is not None
    assert all(difference.largest < 0.05 for difference in report.parity.differences)
    if exporter == "litert":
        assert scales_of_weights(path) == {1}


def scales_of_weights(path: Path) -> set[int]:
    """How many scales int8 constants of four dimensions have."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    computed = {index for operator in interpreter._get_ops_details() for index in operator["outputs"]}
    return {
        len(tensor["quantization_parameters"]["scales"])
        for tensor in interpreter.get_tensor_details()
        if tensor["dtype"] is np.int8 and len(tensor["shape"]) == 4 and tensor["index"] not in computed
    }
