"""docs/samples: each program answers as Python does, and names what is wrong with a file."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

import mnv2dense
from mnv2dense.types import Detections
from tests.helpers.documented import ROOT
from tests.helpers.made_once import made_once
from tests.helpers.toolchains import npm, require_cpp, require_node
from tests.samples.planted import FAULTS, flip_a_bit, plant, skip_normalisation

pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs("openvino", "nncf", "onnx", "onnxscript", "onnxruntime"),
]

SAMPLES = ROOT / "docs" / "samples"


class Sample(NamedTuple):
    """A program, and a detector that it takes.

    Attributes:
        command: what a detector and a picture follow.
        file: .xml or .onnx.
    """

    command: list[str]
    file: Path

    def __call__(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self.command, *map(str, arguments)], capture_output=True, text=True, check=False)


def cpp() -> Sample:
    require_cpp()

    def build(folder: Path) -> None:
        import openvino.utils

        place = f"-DOpenVINO_DIR={openvino.utils.get_cmake_path()}"
        done("cmake", "-S", SAMPLES / "cpp", "-B", folder, place)
        done("cmake", "--build", folder, "--parallel", "2")

    return Sample([str(made_once("cpp-sample", build) / "sample")], detector(".xml"))


def node() -> Sample:
    program = require_node()

    def install(folder: Path) -> None:
        for part in (
            "docs/samples/node",
            "mnv2dense/demo/static",
        ):  # in a copy: node_modules lie beside what imports them
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("node_modules"))
        done(npm(), "ci", "--no-audit", "--no-fund", cwd=folder / "docs/samples/node")

    script = made_once("node-sample", install) / "docs/samples/node/sample.js"
    return Sample([program, str(script)], detector(".onnx"))


def python() -> Sample:
    return Sample([sys.executable, str(SAMPLES / "python" / "sample.py")], detector(".onnx"))


ALL = pytest.mark.parametrize("make", [cpp, node, python])

# Both files in one process, which loads torch but once; not in this one, which converters would change.
EXPORT = """
import mnv2dense
model = mnv2dense.load_model("shapes")
for suffix in (".xml", ".onnx"):
    mnv2dense.export_model(model, "detector" + suffix)
"""


def detector(suffix: str) -> Path:
    """Of shapes, exported with its exam."""
    folder = made_once("sample-detectors", lambda folder: done(sys.executable, "-c", EXPORT, cwd=folder))
    return folder / f"detector{suffix}"


EXPORT_OTHERS = """
import mnv2dense
from tests.helpers.small_models import segmenter
for suffix in (".xml", ".onnx"):
    mnv2dense.export_model(segmenter(), "maps" + suffix)
    mnv2dense.export_model(mnv2dense.load_model("shapes"), "selected" + suffix, nms=True)
"""


def other(name: str, suffix: str) -> Path:
    """Logits of pixels, "maps", or boxes that the file selects, "selected"."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{EXPORT_OTHERS}"
    return made_once("sample-others", lambda folder: done(sys.executable, "-c", code, cwd=folder)) / f"{name}{suffix}"


EXPORT_ROUNDED = """
import mnv2dense
from mnv2dense.data.shapes import draw_shapes
photos = draw_shapes("shapes", train=24, val=1) / "train"
for suffix in (".xml", ".onnx"):
    mnv2dense.export_model(mnv2dense.load_model("shapes"), "rounded" + suffix, precision="int8", calibration=photos)
"""


def rounded(suffix: str) -> Path:
    """Of shapes at int8, whose exam keeps what the file itself answered."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{EXPORT_ROUNDED}"
    folder = made_once("sample-rounded", lambda folder: done(sys.executable, "-c", code, cwd=folder))
    return folder / f"rounded{suffix}"


def done(*command: str | Path, cwd: Path | None = None) -> None:
    finished = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


@ALL
def test_the_exam_is_passed(make: Callable[[], Sample]) -> None:
    sample = make()
    finished = sample(sample.file, "--exam")
    assert finished.stdout.splitlines()[-1] == "passed", finished.stdout + finished.stderr
    assert finished.returncode == 0
    of = {name: float(error) for name, error in re.findall(r"^(\w+) +([\d.e-]+) ", finished.stdout, re.MULTILINE)}
    assert of["input"] <= 0.1  # the exam's means are rounded to that
    assert max(of["boxes"], of["scores"]) < 1e-4


@pytest.mark.parametrize("name", ["maps", "selected"])
@pytest.mark.parametrize("make", [cpp, node])
def test_results_are_right_of_maps_and_of_boxes_selected_inside(make: Callable[[], Sample], name: str) -> None:
    sample = make()
    finished = sample(other(name, sample.file.suffix), "--exam")
    assert finished.stdout.splitlines()[-1] == "passed", finished.stdout + finished.stderr
    assert "results  0" in finished.stdout


@ALL
def test_an_int8_file_is_compared_with_its_own_answers_of_then(make: Callable[[], Sample], tmp_path: Path) -> None:
    sample = make()
    file = rounded(sample.file.suffix)
    finished = sample(file, "--exam")
    assert finished.stdout.splitlines()[-1] == "passed", finished.stdout + finished.stderr
    exam = mnv2dense.ExportedModel(file).exam
    for name, limit in exam.own_limits.items():
        (line,) = (line for line in finished.stdout.splitlines() if line.startswith(name))
        distance, allowed = map(float, re.findall(r"[\d.]+(?:e-?\d+)?", line)[:2])
        assert distance < limit / 2 <= exam.limits[name] / 2
        assert allowed == pytest.approx(limit, rel=0.1)
    assert "results" not in finished.stdout  # of which no own answer is kept

    for path in file.parent.glob("rounded.*"):
        shutil.copy(path, tmp_path)
    plant(tmp_path / file.name, skip_normalisation)
    finished = sample(tmp_path / file.name, "--exam")
    assert finished.returncode == 1
    cause = mnv2dense.check_file(tmp_path / file.name).cause  # which int8's limits of what goes in decide, too
    assert cause is not None
    assert f"likely cause: {cause}" in finished.stdout.splitlines()


def test_an_exam_without_numbers_is_not_passed_unseen() -> None:
    finished = python()(other("selected", ".onnx"), "--exam")
    assert finished.returncode == 2
    assert "this exam is of numbers" in finished.stderr
    assert python()(other("maps", ".onnx"), "--exam").returncode == 0


@pytest.mark.parametrize(
    ("make", "fault"),
    [(make, fault) for make in (cpp, node, python) for fault in FAULTS]
    + [(make, "flipped weight") for make in (cpp, node)],  # Python's reads no weights
)
def test_a_planted_fault_is_named(make: Callable[[], Sample], fault: str, tmp_path: Path) -> None:
    sample = make()
    for path in sample.file.parent.glob("detector.*"):
        shutil.copy(path, tmp_path)
    file = tmp_path / sample.file.name
    plant(file, FAULTS.get(fault, flip_a_bit))
    finished = sample(file, "--exam")
    assert finished.returncode == 1
    lines = finished.stdout.splitlines()
    assert lines[-1] == "failed", finished.stdout + finished.stderr
    if fault in FAULTS:
        assert f"likely cause: {fault}" in lines
    else:
        assert "likely cause: the constants that were changed" in lines
        assert sum("backbone.stem.0" in line for line in lines if line.startswith("changed: ")) == 1


@ALL
def test_a_picture_gets_the_predictors_boxes_drawn_into_it(make: Callable[[], Sample], tmp_path: Path) -> None:
    sample = make()
    picture = tmp_path / "picture.png"
    pixels = np.full((150, 260, 3), 190, np.uint8)
    pixels[40:110, 30:100], pixels[70:130, 160:240] = (200, 40, 40), (40, 60, 200)
    Image.fromarray(pixels).save(picture)
    finished = sample(sample.file, picture, tmp_path / "drawn.png")
    assert finished.returncode == 0, finished.stderr
    found = mnv2dense.Predictor(sample.file, threshold=0.4)(picture)
    assert isinstance(found, Detections)
    assert len(found) > 0
    rows = [line.rsplit(maxsplit=5) for line in finished.stdout.splitlines()]
    assert [row[0] for row in rows] == [found.class_names[label] for label in found.labels.tolist()]
    np.testing.assert_allclose([float(row[1]) for row in rows], found.scores, atol=2e-3)
    np.testing.assert_allclose([list(map(float, row[2:])) for row in rows], found.boxes, atol=0.2)
    with Image.open(tmp_path / "drawn.png") as drawn:
        assert drawn.size == (260, 150)
        assert (np.asarray(drawn.convert("RGB")) != pixels).any()


@ALL
def test_what_cannot_be_read_is_said_in_a_line(make: Callable[[], Sample], tmp_path: Path) -> None:
    sample = make()
    assert sample().returncode != 0
    (tmp_path / "text.jpg").write_text("no picture", encoding="utf-8")
    finished = sample(sample.file, tmp_path / "text.jpg", tmp_path / "drawn.png")
    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert "text.jpg" in line
