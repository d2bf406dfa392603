"""What runtimes plan for activations, blocks whole and in channel groups (paper section 5.1), beside the paper's bound.

    python benchmarks/arenas.py --width 0.35 --size 96
    python benchmarks/arenas.py --model mobilenet_v2_1.0_224 --images photos --tflm tflm/bin/python

Arenas are read from the files (mnv2dense.runtimes.arena). TensorFlow Lite Micro's is what its own planner says, in a
Python that has `tflite-micro`: the head holds activations, the tail structures and the numbers of each channel. ONNX
Runtime and OpenVINO tell of no plan; of theirs stands how much the process grew at most in its first run, which is all
that the runtime took: activations, workspaces, and what it packs late. CPU time is a ratio of medians, of runs that
take turns in one process with one thread.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from mnv2dense.export import ExportOptions
from mnv2dense.export.calibration import drawn_images, images_of_folder, model_inputs
from mnv2dense.models.architectures import mobilenet_v2_classifier
from mnv2dense.models.checkpoint import load_model
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.models.split import memory_bound
from mnv2dense.runtimes.arena import read_arena
from mnv2dense.runtimes.exported_model import ExportedModel


class Kind(NamedTuple):
    """Of a file: how it is written, and the bytes of one activation in it."""

    title: str
    exporter: str
    precision: str
    bytes: int
    options: dict[str, object]


KINDS = {
    "litert": Kind("LiteRT int8", "litert", "int8", 1, {}),
    "executorch": Kind("ExecuTorch fp32, no delegate", "executorch", "fp32", 4, {"delegate": False}),
    "onnx": Kind("ONNX Runtime int8", "onnx", "int8", 1, {}),
    "openvino": Kind("OpenVINO int8", "openvino", "int8", 1, {}),
}

# In a process of its own: pages that the load has touched and given back would hide what a run takes.
_GROWTH = """
import sys
from pathlib import Path
import torch
from mnv2dense.runtimes.exported_model import ExportedModel

def kilobytes(key):
    return int(next(line for line in open("/proc/self/status") if line.startswith(key)).split()[1])

file = ExportedModel(sys.argv[1], threads=1)
images = torch.zeros(1, 3, *file.size, dtype=torch.uint8)
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = kilobytes("VmRSS:")
file.run(images)
print(1024 * (kilobytes("VmHWM:") - before))
"""

_TFLM = """
import sys
from tflite_micro.python.tflite_micro import runtime
runtime.Interpreter.from_file(sys.argv[1], arena_size=64_000_000).print_allocations()
"""


def main() -> None:
    """Measure and print a table in markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a checkpoint or name; else a classifier of --width with drawn weights")
    parser.add_argument("--width", type=float, default=0.35)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--images", type=Path, help="a folder to take int8's ranges from; else shapes are drawn")
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--split", nargs="*", default=["auto"], help="each a row")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--tflm", type=Path, help="a Python that has tflite-micro")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = load_model(arguments.model) if arguments.model else _settled(arguments.width, arguments.size)
    images = drawn_images(16) if arguments.images is None else images_of_folder(arguments.images, 100)
    calibration = model_inputs(images, model.size, model.resize)
    splits = [None, *(word if word == "auto" else int(word) for word in arguments.split)]

    print("| runtime | blocks | kB | x bound | bound, kB | CPU time, ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for kind in (KINDS[name] for name in arguments.kinds):
            paths = []
            for number, split in enumerate(splits):
                asked = ExportOptions(
                    exporter=kind.exporter,
                    precision=kind.precision,  # type: ignore[arg-type]  # a word of the table above; the options check it
                    split=split,
                    options=kind.options,
                )
                graph = asked.written(asked.graph_of(model))
                path = Path(folder) / f"{number}{asked.suffix}"
                description = graph.describe(asked.precision)
                asked.module.export(graph, path, description=description, calibration=calibration, **kind.options)
                paths.append(path)
            ratios = _ratios(paths, calibration[0], arguments.rounds)
            bound = kind.bytes * memory_bound(model) // 4
            for split, path, ratio in zip(splits, paths, ratios, strict=True):
                arena = read_arena(path)
                taken = _growth(path) if arena is None else arena.bytes
                read = f"{taken / 1e3:,.1f}" if arena is not None else f"grew by {taken / 1e3:,.0f}"
                share = "" if arena is None else f"{taken / bound:.2f}"
                blocks = "whole" if split is None else f"split={split}"
                print(f"| {kind.title} | {blocks} | {read} | {share} | {bound / 1e3:,.1f} | {ratio:.2f} |", flush=True)
                if kind.exporter == "litert" and arguments.tflm is not None:
                    head, tail = _micro(arguments.tflm, path)
                    print(f"| TFLM int8 | {blocks} | {head / 1e3:,.1f} + {tail / 1e3:,.1f} | {head / bound:.2f} | "
                          f"{bound / 1e3:,.1f} | |", flush=True)  # fmt: skip


def _settled(width: float, size: int) -> DenseModel:
    """Batch norms that have seen images: ranges of fresh ones would be none that a trained model has."""
    model = mobilenet_v2_classifier(width_mult=width, size=(size, size)).train()
    images = torch.cat(model_inputs(drawn_images(32), model.size, model.resize))
    with torch.no_grad():
        for _ in range(60):
            model(images)
    return model.eval()


def _ratios(paths: Sequence[Path], image: torch.Tensor, rounds: int) -> list[float]:
    """Median time of each beside the first one's, two rounds of warm-up left out."""
    files = [ExportedModel(path, threads=1) for path in paths]
    seconds: list[list[float]] = [[] for _ in files]
    for turn in range(rounds + 2):
        for file, own in zip(files, seconds, strict=True):
            began = time.process_time()
            file.run(image)
            if turn >= 2:
                own.append(time.process_time() - began)
    medians = [statistics.median(own) for own in seconds]
    return [median / medians[0] for median in medians]


def _growth(path: Path) -> int:
    return int(_said(sys.executable, _GROWTH, path).split()[-1])


def _micro(python: Path, path: Path) -> tuple[int, int]:
    said = _said(str(python), _TFLM, path)
    head, tail = (int(re.findall(rf"allocation {part} (\d+) bytes", said)[0]) for part in ("head", "tail"))
    return head, tail


def _said(python: str, code: str, path: Path) -> str:
    done = subprocess.run([python, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


if __name__ == "__main__":
    main()
