"""Every task in every runtime at int8 (or fp16), and boxes at float32, real weights, through command and gate.

That float32 classes and masks are the model's numbers is for each runtime's own file of tests.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image

from mnv2dense import Predictor, load_model, ssdlite320_mobilenet_v2
from mnv2dense.data.shapes.detection import draw_shapes
from mnv2dense.export.calibration import drawn_images, model_inputs
from mnv2dense.export.graph import ExportGraph
from mnv2dense.runtimes.formats import FORMATS
from tests.export.formats.test_documented import check_documented_lines
from tests.helpers.cpu import saturates
from tests.helpers.tiny import command

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("place")]

# Exporter -> packages that write its files and run them.
NEEDED = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino", "nncf"),
    "executorch": ("executorch", "torchao"),
    "litert": ("litert_torch", "ai_edge_litert"),
    "ncnn": ("pnnx", "ncnn"),
}


class Task(NamedTuple):
    """A checkpoint, images like those it was trained on, how large its file may be at int8, and how many images tell.

    Attributes:
        limit: MB.
        calibrating: images that int8 is calibrated on.
        judging: images that a file's answers are compared on at int8. Of a segmentation every pixel counts.
    """

    checkpoint: str
    calibration: str
    images: str
    limit: float
    calibrating: int
    judging: int


@pytest.fixture(scope="module")
def tasks(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    shapes = draw_shapes(tmp_path_factory.mktemp("drawn") / "shapes", train=32, val=16)
    voc = str(shared / "data" / "VOCdevkit" / "VOC2007" / "JPEGImages")
    coco = str(shared / "data" / "coco_mini")
    return {
        "classification": Task(str(shared / "weights" / "mobilenet_v2_1.0_224"), voc, voc, 4.2, 64, 100),
        # A narrow one; what 80 classes take at full width has a test of its own.
        "detection": Task("shapes", str(shapes / "train"), str(shapes / "val"), 2.5, 16, 16),
        "segmentation": Task(
            str(shared / "weights" / "deeplabv3_mobilenet_v2_1.0_513"),
            f"{coco}/train2017",
            f"{coco}/val2017",
            2.5,
            16,
            4,
        ),
    }


def exported(task: Task, exporter: str, precision: str, *options: str) -> dict[str, Any]:
    """The report of an export that passed its gate."""
    for package in NEEDED[exporter]:
        pytest.importorskip(package)
    outcome = command(
        "export",
        f"checkpoint={task.checkpoint}",
        f"exporter={exporter}",
        f"precision={precision}",
        f"calibration={task.calibration}",
        f"images={task.images}",
        "run_dir=run",
        *options,
    )
    assert outcome.code == 0, outcome.err
    report: dict[str, Any] = json.loads(Path("run/parity.json").read_text())
    assert report["passed"]
    return report


# Photographs of VOC show an ImageNet classifier much that is none of its classes, so its first two are often near each
# other. Of 100, 85 agree with OpenVINO 2026.4 and NNCF 3.4, by this code as by version 0.1's.
TOLERANCE = {"classification": ("tolerance.agreement=0.8",)}


CELLS = [(task, exporter) for task in ("classification", "detection", "segmentation") for exporter in NEEDED]


@pytest.mark.parametrize("exporter", NEEDED)
def test_a_detectors_file_gives_the_models_boxes_here_and_by_the_documented_lines(
    tasks: dict[str, Task], exporter: str, capsys: pytest.CaptureFixture[str]
) -> None:
    task = tasks["detection"]
    file = f"detector{FORMATS[exporter].suffix}"
    selected = ("nms=true",) if exporter != "ncnn" else ()  # which has no operators for it
    report = exported(task, exporter, "fp32", *selected, "parity_images=8", f"output={file}")
    assert report["parity"]["agreement"] > 0.999
    with Image.open(sorted(Path(task.images).glob("*.jpg"))[0]) as image:
        image.save("street.png")
    expected = Predictor(load_model(task.checkpoint), device="cpu", threshold=0.3)("street.png")
    found = Predictor(file, threshold=0.3)("street.png")
    assert len(expected) > 0
    assert found.names == expected.names
    torch.testing.assert_close(found.boxes, expected.boxes, rtol=0, atol=0.1)
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=1e-3)
    check_documented_lines(exporter, capsys)


@pytest.mark.parametrize(("task", "exporter"), CELLS)
def test_at_the_fewest_bits_a_file_is_small_and_answers_alike(tasks: dict[str, Task], task: str, exporter: str) -> None:
    tolerance = TOLERANCE.get(task, ())
    if (task, exporter) == ("classification", "onnx") and saturates():
        # There 63 of 100 agree with weights of 8 bits, 82 with 7.
        tolerance = ("+options.reduce_range=true", "tolerance.agreement=0.75")
    report = exported(
        tasks[task],
        exporter,
        "fp16" if exporter == "ncnn" else "int8",
        f"parity_images={tasks[task].judging}",
        f"calibration_images={tasks[task].calibrating}",
        *tolerance,
    )
    assert report["megabytes"] <= tasks[task].limit * (2 if exporter == "ncnn" else 1)
    assert report["parity"]["counted"] >= 50  # classes, pixels or boxes: enough to tell


# One of them: what a file holds beside its weights is the narrow detector's, too, whose sizes are judged above.
@pytest.mark.parametrize("exporter", ["litert"])
def test_a_detector_of_80_classes_is_small_at_int8(exporter: str, tmp_path: Path) -> None:
    for package in NEEDED[exporter]:
        pytest.importorskip(package)
    torch.manual_seed(0)
    graph = ExportGraph(ssdlite320_mobilenet_v2(80).eval())
    module = pytest.importorskip(f"mnv2dense.export.formats.{exporter}")
    path = tmp_path / "out" / f"model{FORMATS[exporter].suffix}"
    path.parent.mkdir()
    images = model_inputs(drawn_images(2), graph.size, "squash")
    module.export(graph, path, description=graph.describe("int8"), calibration=images)
    assert sum(file.stat().st_size for file in path.parent.iterdir()) <= 5.0e6
