"""tools/demo.py: the folder that it writes, the server that it starts, and what it says of mistakes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mnv2dense import Predictor
from mnv2dense.cli import demo_job
from mnv2dense.data.shapes.drawing import SHAPE_CLASSES
from mnv2dense.demo.build import write_page
from mnv2dense.demo.onnxruntime_web import FILES
from mnv2dense.runtimes.metadata import Metadata
from mnv2dense.visualization.draw import class_color
from tests.helpers.tiny import Outcome, command, tiny_model

ROOT = Path(__file__).parents[2]


@pytest.fixture
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the right names; what is in them only a browser would mind."""
    folder = tmp_path_factory.mktemp("runtime")
    for name in FILES:
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def quick(runtime: Path, monkeypatch: pytest.MonkeyPatch, place: None) -> None:
    """Without the download of the runtime."""
    module = demo_job
    monkeypatch.setattr(module, "runtime_folder", lambda archive: runtime)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, size in (("two_dogs.jpg", (400, 300)), ("a-cat.png", (30, 40)), ("old.tiff", (8, 8))):
        Image.fromarray(np.full((size[1], size[0], 3), 90, np.uint8)).save(folder / name)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def description(task: str = "detection", names: tuple[str, ...] = ("dog", "cat"), **selection: Any) -> Metadata:  # noqa: ANN401
    options = selection or {"score_threshold": 0.01, "nms_threshold": 0.6, "candidates": 10, "limit": 5}
    numbers = tuple(range(1, len(names) + 1))
    outputs: Any = {"detection": "boxes", "segmentation": "logits", "classification": "scores"}[task]
    return Metadata(task, outputs, "fp32", (64, 96), "squash", names, numbers, options)


def about(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "model.json").read_text())
    return content


# --- the folder ----------------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"12345")
    return path


def test_a_folder_holds_all_that_the_page_loads(tmp_path: Path, model: Path, runtime: Path, photos: Path) -> None:
    folder = write_page(tmp_path / "page", model, description(), title="Dogs", runtime=runtime, samples=photos)
    page = {"README.md", "camera.js", "check.js", "constants.js", "drawing.js", "exam.js", "geometry.js", "icon.svg"}
    page |= {"index.html", "label_map.js", "model.js", "page.css", "page.js", "parts.js", "results.js", "selection.js"}
    page |= {"worker.js"}
    assert {path.name for path in folder.iterdir()} == page | {"model.json", "model.onnx", "runtime", "samples"}
    assert {path.name for path in (folder / "runtime").iterdir()} == set(FILES)
    found = about(folder)
    assert found["title"] == "Dogs"
    assert found["bytes"] == 5
    assert found["description"]["size"] == [64, 96]
    assert found["colors"] == [list(class_color(0)), list(class_color(1))]


def test_samples_are_what_browsers_show_each_with_a_small_one(
    tmp_path: Path, model: Path, runtime: Path, photos: Path
) -> None:
    folder = write_page(tmp_path / "page", model, description(), title="Dogs", runtime=runtime, samples=photos)
    samples = about(folder)["samples"]
    assert [sample["title"] for sample in samples] == ["A cat", "Two dogs"]
    for sample in samples:
        with Image.open(folder / sample["thumbnail"]) as small, Image.open(folder / sample["file"]) as whole:
            assert max(small.size) <= 240
            assert small.size[0] / small.size[1] == pytest.approx(whole.size[0] / whole.size[1], rel=0.02)


def test_a_folder_without_images_for_browsers_is_refused(tmp_path: Path, model: Path, runtime: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"samples=.*empty: it has no images that browsers show"):
        write_page(tmp_path / "p", model, description(), title="", runtime=runtime, samples=tmp_path / "empty")


def test_masks_take_the_colours_of_their_own_palette_and_background_is_black(
    tmp_path: Path, model: Path, runtime: Path
) -> None:
    names = ("background", "cat")
    own = description("segmentation", names, palette=[[1, 2, 3], [4, 250, 6]], align_corners=True)
    made = write_page(tmp_path / "own", model, own, title="", runtime=runtime)
    assert about(made)["colors"] == [[1, 2, 3], [4, 250, 6]]
    dark = description("segmentation", names, palette=[[1, 2, 3], [4, 5, 6]], align_corners=True)
    made = write_page(tmp_path / "dark", model, dark, title="", runtime=runtime, palette="data")
    assert about(made)["colors"] == [[1, 2, 3], [4, 5, 6]]
    house = description("segmentation", names, palette=None, align_corners=True)
    made = write_page(tmp_path / "house", model, house, title="", runtime=runtime)
    assert about(made)["colors"] == [[0, 0, 0], list(class_color(0))]
    assert about(made)["samples"] == []


def test_each_of_several_heads_has_colours_and_samples_as_it_has_alone(
    tmp_path: Path, model: Path, runtime: Path
) -> None:
    masks = {"palette": None, "align_corners": True}
    boxes = {"score_threshold": 0.01, "nms_threshold": 0.6, "candidates": 10, "limit": 5}
    names = ("masks/background", "masks/road", *(f"boxes/{name}" for name in SHAPE_CLASSES))
    parts = {"boxes": {"task": "detection", **boxes}, "masks": {"task": "segmentation", **masks}}
    heads: dict[str, Any] = {"boxes": "boxes", "masks": "logits"}
    both = Metadata(
        *("joint", "joint", "fp32", (64, 96), "squash", names, tuple(range(8)), {"parts": parts}),  # type: ignore[arg-type]
        parts=heads,
    )
    found = about(write_page(tmp_path / "page", model, both, title="", runtime=runtime))
    assert found["colors"] == [[0, 0, 0], list(class_color(0)), *(list(class_color(label)) for label in range(6))]
    assert found["description"]["parts"] == heads
    assert len(found["samples"]) == 6


# --- the command ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_without_a_checkpoint_the_shipped_detector_meets_drawn_shapes() -> None:
    pytest.importorskip("onnxscript")
    outcome = command("demo", "build=page")
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == "page"
    found = about(Path("page"))
    assert found["title"] == "Drawn shapes"
    assert found["description"]["class_names"] == ["circle", "square", "triangle", "star", "ring", "cross"]
    assert found["description"]["outputs"] == "boxes"
    assert found["bytes"] == Path("page/model.onnx").stat().st_size < 6e6
    assert len(found["samples"]) == 6
    pytest.importorskip("onnxruntime")
    assert len(Predictor("page/model.onnx", threshold=0.5)(Path("page") / found["samples"][2]["file"])) > 0


@pytest.mark.usefixtures("quick")
def test_a_checkpoint_and_an_exported_file_give_the_same_page(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from mnv2dense import save_model

    checkpoint = save_model(tiny_model(), tmp_path / "tiny.ckpt")
    first = command("demo", f"checkpoint={checkpoint}", "build=first", f"samples={photos}", "title=Tiny")
    second = command("demo", "checkpoint=first/model.onnx", "build=second", f"samples={photos}", "title=Tiny")
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert about(Path("first")) == about(Path("second"))
    assert Path("first/model.onnx").read_bytes() == Path("second/model.onnx").read_bytes()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (".", "build=.: the folder holds other files, some of which the page might replace; name a new or empty one"),
        ("README.md", "build=README.md: a file; name a folder for the page."),
    ],
)
def test_a_page_replaces_nobodys_files(build: str, message: str) -> None:
    Path("README.md").write_text("mine", encoding="utf-8")
    outcome = command("demo", f"build={build}")
    assert outcome.code == 2
    assert message in " ".join(outcome.err.split())
    assert [path.name for path in Path().iterdir()] == ["README.md"]
    assert Path("README.md").read_text(encoding="utf-8") == "mine"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["precision=fp8"], "precision=fp8: choose from fp32, fp16, int8."),
        (["port=99999"], "port=99999: a number from 1 to 65535 is needed, or 0 for any that is free."),
        (["port=web"], "port=web: a number is needed"),
        (["open=maybe"], "open=maybe: true or false is needed."),
        (["size=[320]"], "size=[320]: give height and width, as in size=[320,320]."),
        (["samples=nowhere"], "samples=nowhere: no such folder of images."),
        (["checkpoint=model.tflite"], "checkpoint=model.tflite: browsers run .onnx files; export with exporter=onnx."),
        (
            ["checkpoint=model.onnx", "precision=int8"],
            "precision=int8 changes the model, and an exported file is fixed.",
        ),
        (["checkpoint=nowhere.ckpt"], "nowhere.ckpt"),
    ],
)
def test_a_mistake_is_told_in_a_line(arguments: list[str], message: str) -> None:
    outcome = command("demo", *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.usefixtures("quick")
def test_int8_of_unknown_images_asks_for_some(tmp_path: Path) -> None:
    from mnv2dense import save_model

    checkpoint = save_model(tiny_model(), tmp_path / "tiny.ckpt")
    outcome: Outcome = command("demo", f"checkpoint={checkpoint}", "precision=int8")
    assert outcome.code == 2
    assert "precision=int8 needs images like those that the model will see: calibration=FOLDER." in outcome.err


@pytest.mark.parametrize(
    ("checkpoint", "title"),
    [
        (None, "Drawn shapes"),
        ("models/street.onnx", "street"),
        ("mobilenet_v2_1.0_224", "mobilenet_v2_1.0_224"),
        ("runs/detection/2026-01-31_12-00-00", "detection 2026-01-31_12-00-00"),
    ],
)
@pytest.mark.usefixtures("place")
def test_a_page_is_called_after_its_model(checkpoint: str | None, title: str) -> None:
    if checkpoint is not None and not checkpoint.endswith(".onnx"):
        Path(checkpoint).mkdir(parents=True)
    assert demo_job._title(checkpoint) == title


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_end_and_leaves_nothing_behind(
    end: signal.Signals, tmp_path: Path, runtime: Path
) -> None:
    """In a process of its own, for signals; with a model of one line, for time."""
    pytest.importorskip("onnxruntime")
    script = (
        "import sys, pathlib; from mnv2dense.cli import demo, demo_job;"
        f"demo_job.runtime_folder = lambda archive: pathlib.Path({str(runtime)!r});"
        "from tests.commands.test_demo import description;"
        "made = pathlib.Path('model.onnx'); made.write_bytes(b'x');"
        "demo_job._model = lambda folder, plain: (made, description());"
        "sys.argv = ['demo.py', 'port=0']; demo.demo()"
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    url = next(line.strip() for line in lines if line.startswith("http://127.0.0.1:"))
    with urllib.request.urlopen(f"{url}model.json") as answer:
        assert json.load(answer)["title"] == "Drawn shapes"
    assert list(temporary.iterdir())
    process.send_signal(end)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert list(temporary.iterdir()) == []
