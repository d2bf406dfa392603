"""docs/export.md: what it says of using a file without this project is run, and gives what it gives."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.options import ExportOptions
from mnv2dense.ops.resize import ResizeMode, fit, infos
from mnv2dense.ops.resize import resize as resized
from mnv2dense.runtimes.exported_model import ExportedModel
from mnv2dense.runtimes.formats import FORMATS
from tests.export.test_parity import model_for
from tests.helpers.documented import fences

pytestmark = pytest.mark.usefixtures("place")

# Format -> how the documented block begins.
BLOCKS = {
    "onnx": "# onnxruntime",
    "openvino": "# openvino",
    "executorch": "# executorch",
    "litert": "# ai_edge_litert",
    "ncnn": "# ncnn",
}


def block(beginning: str) -> str:
    (found,) = (fence.text for fence in fences() if fence.page == "docs/export.md" and fence.text.startswith(beginning))
    return found


def test_every_format_that_runs_here_has_its_lines() -> None:
    assert set(BLOCKS) == {name for name, known in FORMATS.items() if known.runs_here}


# The other formats' lines are run on files of trained models: tests/export/formats/test_matrix.py.
def test_the_documented_lines_give_what_the_predictor_gives_between_bars(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino")
    model = model_for("detection")
    model.resize = "letterbox"
    graph = ExportGraph(model, decided=True, selection={"limit": 3, "score_threshold": 0.2})
    ExportOptions(exporter="openvino").module.export(graph, Path("detector.xml"), description=graph.describe("fp32"))
    noise = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((150, 91), Image.Resampling.BICUBIC).save("street.png")
    check_documented_lines("openvino", capsys)


def check_documented_lines(exporter: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run them on ``detector.SUFFIX`` and ``street.png`` of the working folder, and compare with our own way."""
    names: dict[str, Any] = {}
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ExecuTorch: that all of it is experimental
        for text in (block("# prepare.py"), block(BLOCKS[exporter]), block("# the way back")):
            exec(compile(text, "docs/export.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()

    exported = ExportedModel(Path(f"detector{FORMATS[exporter].suffix}"))
    given = torch.from_numpy(names["images"])
    with Image.open("street.png") as image:
        width, height = image.size
    place = infos([0], [(height, width)], [fit(height, width, exported.size, exported.resize)])
    (found,) = exported.predict(given, place)
    assert len(printed) == len(found) > 0
    for line, label, score, box in zip(printed, found.labels, found.scores, found.boxes, strict=True):
        name, share, corners = line.split(" ", 2)
        assert name == exported.class_names[label]
        assert float(share) == pytest.approx(float(score), abs=0.01)
        np.testing.assert_allclose(eval(corners), box.numpy(), atol=1e-3)


@pytest.mark.parametrize("resize", ["squash", "letterbox"])
@pytest.mark.parametrize("size", [(91, 150), (200, 33), (20, 30), (1, 500)])
def test_the_documented_resize_is_the_models_to_a_rounding(resize: ResizeMode, size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(picture).save("street.png")
    names: dict[str, Any] = {}
    exec(compile(block("# prepare.py"), "docs/export.md", "exec"), names)
    images, scale, offset, (width, height) = names["prepare"]("street.png", {"size": [64, 96], "resize": resize})
    expected, place = resized(torch.from_numpy(picture).permute(2, 0, 1), (64, 96), resize)
    assert np.abs(images[0].astype(int) - expected.numpy().astype(int)).max() <= 1
    assert (*scale, *offset) == pytest.approx(place)
    assert (height, width) == size
