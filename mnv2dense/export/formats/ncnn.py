"""ncnn: a .ncnn.param of layers with a .ncnn.bin of their weights, for phones and small ARM boards; written by pnnx.

The file takes one image at a time. ncnn's matrices hold floats, so what goes in are the image's values 0..255 as
float32 [3, H, W], which is what ``Mat::from_pixels`` makes of its bytes; normalisation is inside. ``images`` is the
input's name, and outputs have the names of :data:`mnv2dense.runtimes.metadata.OUTPUT_TENSORS`, without the batch. The
metadata is a json beside the file, ``model.ncnn.param.json``; the three belong together.

At fp16 weights are halves and what decodes answers stays float32. Whether a CPU also computes in halves is up to
whoever runs the file; :mod:`mnv2dense.runtimes.ncnn` does not.

ncnn has no operators to sort, gather or compare by, so nothing is decided inside the file: boxes come out before any
threshold, logits on the network's grid.
"""

from __future__ import annotations

import copy
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from mnv2dense.export.formats.common import Writer, quiet, set_exam_beside, write_together
from mnv2dense.export.graph import ExportGraph
from mnv2dense.models.normalize import Normalize
from mnv2dense.runtimes.metadata import INPUT, Metadata

WRITER = Writer(
    "ncnn",
    "ncnn",
    packages=("pnnx", "ncnn"),
    refused={"int8": "ncnn's own tools for it come in no package; take fp16, or another exporter."},
    refused_outputs={
        "selected_boxes": "nms=true: ncnn has no operators for it; leave nms out. tools/predict.py and Predictor then "
        "select the boxes, and docs/export.md says how to without them.",
        "labels": "labels=true: ncnn has no operator that decides between classes pixel by pixel; leave labels out. "
        "tools/predict.py and Predictor then decide, from the logits.",
    },
)

_NOTE = (
    "float32 [3, H, W] of the image's values 0..255, as ncnn::Mat::from_pixels makes them; outputs without the batch"
)


def export(
    graph: ExportGraph,
    path: Path,
    *,
    description: Metadata,
    calibration: Sequence[Tensor] | None = None,
    keep_float: Sequence[str] = (),
) -> Path:
    """Write ``path``, its weights and the description beside it.

    Args:
        graph: what is exported.
        path: a name that ends in .ncnn.param; all three files are replaced if they exist.
        description: its ``precision`` says which weights the file gets.
        calibration: not needed.
        keep_float: not needed; names are checked all the same.

    Raises:
        ValueError: another suffix, int8, decisions inside, or an unknown module in ``keep_float``.
        ImportError: pnnx or ncnn is not installed.
        RuntimeError: pnnx failed, or knows no operator of ncnn for one of the model's.
    """
    WRITER.check(graph, path, description, calibration=calibration, keep_float=keep_float)
    WRITER.load(description.precision)
    with tempfile.TemporaryDirectory() as folder:
        traced = Path(folder) / "model.pt"
        with quiet(), torch.no_grad():
            images = torch.zeros(1, 3, *graph.size)
            made = torch.jit.trace(_OfFloats(graph).eval(), images, check_trace=False)  # type: ignore[no-untyped-call]  # untyped in torch
            made.save(str(traced))
        _convert(traced, graph.size, half=description.precision == "fp16")
        layers = _named(traced.with_name("model.ncnn.param").read_text(encoding="utf-8"), graph)
        weights = traced.with_name("model.ncnn.bin").read_bytes()
    description = replace(description, extra={**description.extra, "input": _NOTE})
    write_together(path, layers.encode(), weights, description.to_json().encode())
    return path


set_exam = set_exam_beside


class _OfFloats(nn.Module):
    """The graph for images of float32, which it normalises by one operator that ncnn has."""

    def __init__(self, graph: ExportGraph) -> None:
        super().__init__()
        self.whole = copy.deepcopy(graph)
        # The model's own, or that of the strips which a split backbone normalises.
        for place in [place for place, module in self.whole.named_modules() if isinstance(module, Normalize)]:
            self.whole.set_submodule(place, _as_batch_norm(self.whole.get_submodule(place)))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        answers: tuple[Tensor, ...] = self.whole(images)
        return answers


def _as_batch_norm(before: nn.Module) -> nn.BatchNorm2d:
    """The normalisation, of mean 0 and variance 1."""
    made = nn.BatchNorm2d(3, eps=0.0)
    made.weight.copy_(before.get_buffer("scale").flatten())
    made.bias.copy_(before.get_buffer("shift").flatten())
    return made


def _convert(traced: Path, size: tuple[int, int], *, half: bool) -> None:
    """Let pnnx write ``model.ncnn.param`` and ``model.ncnn.bin`` beside a traced module."""
    import pnnx

    # Its Python function would import what it wrote to make a torch module of it again.
    shape = f"[1,3,{size[0]},{size[1]}]f32"
    done = subprocess.run(
        [pnnx.EXEC_PATH, traced.name, f"inputshape={shape}", f"fp16={int(half)}"],
        cwd=traced.parent,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0 or not traced.with_name("model.ncnn.bin").is_file():
        said = (done.stderr or done.stdout).strip()[-500:]
        raise RuntimeError(f"pnnx failed (exit code {done.returncode}): {said}")


def _named(param: str, graph: ExportGraph) -> str:
    """The text of layers, its input and outputs named as other formats name them, its input of known size.

    Raises:
        RuntimeError: there is an operator among them that ncnn does not have.
    """
    lines = [line.split() for line in param.splitlines()]
    kinds = {line[0] for line in lines[2:]}
    if unknown := sorted(kind for kind in kinds if "." in kind):  # those that pnnx left with their names in torch
        raise RuntimeError(f"pnnx knows no operator of ncnn for {', '.join(unknown)}.")
    names = {"in0": INPUT} | {f"out{number}": name for number, name in enumerate(graph.output_names)}
    for line in lines[2:]:
        ends = 4 + int(line[2]) + int(line[3])
        line[4:ends] = [names.get(blob, blob) for blob in line[4:ends]]
        if line[0] == "Input":
            line[ends:] = [f"0={graph.size[1]}", f"1={graph.size[0]}", "2=3"]
    return "".join(" ".join(line) + "\n" for line in lines)
