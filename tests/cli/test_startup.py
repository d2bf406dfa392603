"""What each command may load: who made a slip, or asks for help, waits neither for torch nor for anything else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent.parent

COMMANDS = tuple(sorted(path.stem for path in (ROOT / "tools").glob("*.py")))

RUNTIMES = (
    "onnx",
    "onnxruntime",
    "openvino",
    "nncf",
    "executorch",
    "torchao",
    "ai_edge_litert",
    "litert_torch",
    "ncnn",
    "pnnx",
)
COMPILER = ("torch._dynamo", "torch._inductor", "sympy", "torch.onnx")
TRAINING = ("pytorch_lightning", "torchmetrics", "tensorboard", "albumentations", "scipy", "pydantic")
SCORING = ("pycocotools", "faster_coco_eval", "hotcoco")
OTHERS = ("matplotlib", "transformers", "huggingface_hub", "timm", "torchvision", "jinja2", "coremltools", "av")
MODELS = ("torch", "cv2", "PIL", "safetensors")

# Run in one process, one after the other: what the first leaves alone, and what all of them do.
_PROGRAM = """
import contextlib, importlib, io, json, sys
told = []
for name, *words in json.loads(sys.argv[1]):
    sys.argv = [f"{name}.py", *words]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
        with contextlib.suppress(SystemExit):
            getattr(importlib.import_module(f"mnv2dense.cli.{name}"), name)()
    told.append({"said": errors.getvalue(), "loaded": sorted(sys.modules)})
print(json.dumps(told))
"""


def _run(place: Path, *commands: Sequence[str]) -> list[tuple[str, set[str]]]:
    """What each said on stderr, and the modules that were loaded after it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MNV2DENSE_CACHE": str(place)}
    words = [sys.executable, "-c", _PROGRAM, json.dumps(commands)]
    done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [(told["said"], set(told["loaded"])) for told in json.loads(done.stdout.splitlines()[-1])]


@pytest.mark.slow
def test_help_a_slip_and_a_missing_file_are_answered_without_torch(tmp_path: Path) -> None:
    slips = [
        *((name, "--help") for name in COMMANDS),
        *((name, "--version") for name in COMMANDS),
        *((name, "run_dri=x") for name in ("train", "evaluate", "predict", "export", "benchmark")),
        ("train", "task=detektion"),
        ("train", "trainer.max_epoch=3"),
        ("train", "trainer.max_epochs=0"),
        ("train", "seed=x"),
        ("train", "model.size=320"),
        ("train", "init_from=nowhere"),
        ("train", "resume=nowhere"),
        ("evaluate", "checkpoint=nowhere"),
        ("predict", "checkpoint=nowhere", "source=x.jpg"),
        ("predict", "checkpoint=shapes", "source=x.jpg"),
        ("predict", "checkpoint=shapes", "source=.", "opacity=2"),
        ("predict", "checkpoint=shapes", "source=.", "track.patience=2"),
        ("predict", "checkpoint=shapes", "source=.", "explain=true", "explain.method=x"),
        ("export", "checkpoint=shapes", "exporter=onxn"),
        ("benchmark", "models=[a,a]"),
        ("compare", "shapes"),
        ("compare", "shapes", "nowhere"),
        ("compare", "shapes", "a.onnx", "draws=3"),
        ("demo", "port=x"),
        ("info", "dtype=int8"),
        ("info", "checkpoint=nowhere"),
        ("shard", "data=coco"),
        ("convert", "data=coco", "to=yolo", "output=out"),
        ("convert", "data=coco", "data.root=x", "to=yollo", "output=out"),
        ("check", "threads=2"),
        ("check", "nowhere.onnx"),
        ("fit_budget", "task=detection"),
        ("fit_budget", "milliseconds=10", "runtime=openvion"),
        ("doctor", "data=coco"),
        ("doctor", "data=shapes", "fail_on=leek"),
    ]
    heavy = {*MODELS, *RUNTIMES, *COMPILER, *TRAINING, *SCORING, *OTHERS, "rich"}
    for words, (errors, loaded) in zip(slips, _run(tmp_path, *slips), strict=True):
        assert errors.startswith("error: ") != words[1].startswith("--"), (words, errors)
        assert "Traceback" not in errors, (words, errors)
        assert not heavy & loaded, words


def test_a_missing_data_set_is_told_before_torch_is_loaded(tmp_path: Path) -> None:
    [(said, loaded)] = _run(tmp_path, ("train", "data=yolo", "data.root=nowhere", "run_dir=out"))
    assert "nowhere" in said
    assert not {"torch", *RUNTIMES, *COMPILER, *TRAINING, *SCORING, *OTHERS, "rich"} & loaded


def test_the_config_is_shown_without_torch(tmp_path: Path) -> None:
    [(said, loaded)] = _run(tmp_path, ("train", "--cfg", "job"))
    assert said == ""
    assert not {*MODELS, *RUNTIMES, *COMPILER, *TRAINING, *SCORING, *OTHERS, "rich"} & loaded


def test_info_loads_torch_and_nothing_of_training(tmp_path: Path) -> None:
    commands = [("info", f"task={task}") for task in ("detection", "segmentation", "classification", "joint")]
    for command, (said, loaded) in zip(commands, _run(tmp_path, *commands), strict=True):
        assert said == "", command
        assert "torch" in loaded
        assert not {"cv2", *RUNTIMES, *COMPILER, *TRAINING, *SCORING, *OTHERS} & loaded, command


def test_predict_loads_torch_and_what_reads_and_draws_images(tmp_path: Path) -> None:
    Image.new("RGB", (80, 60)).save(tmp_path / "a.jpg")
    [(said, loaded)] = _run(tmp_path, ("predict", "checkpoint=shapes", "source=a.jpg", "run_dir=out", "device=cpu"))
    assert said == ""
    assert (tmp_path / "out" / "a.jpg").is_file()
    assert not {*RUNTIMES, *COMPILER, *TRAINING, *SCORING, *OTHERS} & loaded
