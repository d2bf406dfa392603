"""docs/export.md: what it says of using a file without this project is run, and gives what the project gives."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mnv2dense import Predictor
from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.options import ExportOptions
from mnv2dense.ops.resize import ResizeMode
from mnv2dense.runtimes.formats import FORMATS
from tests.export.test_parity import model_for
from tests.helpers.documented import fences

pytestmark = pytest.mark.usefixtures("place")

# Format -> packages that write its files and run them, and how the documented block begins.
BLOCKS = {
    "onnx": (("onnx", "onnxscript", "onnxruntime"), "# onnxruntime"),
    "openvino": (("openvino",), "# openvino"),
    "executorch": (("executorch", "torchao"), "# executorch"),
    "litert": (("litert_torch", "ai_edge_litert"), "# ai_edge_litert"),
}


def block(beginning: str) -> str:
    (found,) = (fence.text for fence in fences() if fence.page == "docs/export.md" and fence.text.startswith(beginning))
    return found


def test_every_format_that_runs_here_has_its_lines() -> None:
    assert set(BLOCKS) == {name for name, known in FORMATS.items() if known.runs_here}


@pytest.mark.parametrize("resize", ["squash", "letterbox"])
@pytest.mark.parametrize("exporter", BLOCKS)
def test_the_documented_lines_give_what_the_predictor_gives(
    exporter: str, resize: ResizeMode, capsys: pytest.CaptureFixture[str]
) -> None:
    packages, beginning = BLOCKS[exporter]
    for package in packages:
        pytest.importorskip(package)
    model = model_for("detection")
    model.resize = resize
    graph = ExportGraph(model, decided=True, selection={"limit": 3, "score_threshold": 0.2})
    path = Path(f"detector{FORMATS[exporter].suffix}")
    ExportOptions(exporter=exporter).module.export(graph, path, description=graph.describe("fp32"))
    noise = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((150, 91), Image.Resampling.BICUBIC).save("street.png")

    names: dict[str, Any] = {}
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ExecuTorch: that all of it is experimental
        for text in (block("# prepare.py"), block(beginning), block("# the way back")):
            exec(compile(text, "docs/export.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()

    found = Predictor(path)("street.png")
    assert len(printed) == len(found) > 0
    for line, name, score, box in zip(printed, found.names, found.scores, found.boxes, strict=True):
        said, share, corners = line.split(" ", 2)
        assert said == name
        assert float(share) == pytest.approx(float(score), abs=0.02)
        # Pillow and torch round a pixel of the input now and then to its neighbour.
        np.testing.assert_allclose(eval(corners), box.numpy(), atol=1.0)
