"""The work of tools/demo.py: export the model, write the page around it, serve it."""

from __future__ import annotations

import logging
import signal
import tempfile
import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from mnv2dense.demo.build import write_page
from mnv2dense.demo.onnxruntime_web import runtime_folder
from mnv2dense.demo.server import DemoServer
from mnv2dense.export.calibration import drawn_images, images_of_folder, model_inputs
from mnv2dense.export.exam import make_exam
from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.options import ExamOptions
from mnv2dense.inference.least_scores import kept_scores
from mnv2dense.models.checkpoint import load_model
from mnv2dense.runtimes.exported_model import ExportedModel
from mnv2dense.runtimes.formats import is_exported
from mnv2dense.runtimes.metadata import Metadata, Precision
from mnv2dense.runtimes.stored_constants import checksums
from mnv2dense.types.thresholds import AUTO

log = logging.getLogger(__name__)

SHIPPED = "shapes"
"""The model of the page where none is given."""

_CALIBRATION_IMAGES = 64


def run(plain: dict[str, Any]) -> None:
    """Write the page, or serve it until Ctrl-C.

    Args:
        plain: conf/demo.yaml as it is asked for, checked.
    """
    runtime = runtime_folder(plain["runtime"])
    if plain["build"] is not None:
        print(_write(Path(plain["build"]), plain, runtime))
        return
    # Whoever ends this by the system's polite signal leaves no folder behind, either.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _serve(plain, runtime)
    except KeyboardInterrupt:
        log.info("ended")


def _serve(plain: dict[str, Any], runtime: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="mnv2dense-demo-") as made:
        folder = _write(Path(made), plain, runtime)
        with DemoServer(folder, port=plain["port"]) as server:
            log.info("The model runs in the browser; nothing is sent anywhere. Ctrl-C ends this.")
            print(server.url, flush=True)
            if plain["open"]:
                webbrowser.open(server.url)
            server.serve_forever(poll_interval=0.2)


def _write(folder: Path, plain: dict[str, Any], runtime: Path) -> Path:
    """The page with its model."""
    with tempfile.TemporaryDirectory(prefix="mnv2dense-demo-model-") as made:
        model, description = _model(Path(made), plain)
        if plain["threshold"] == AUTO:
            kept_scores(
                description.make_selection(),
                description.make_thresholds(),
                named=plain["checkpoint"],
                exported=is_exported(plain["checkpoint"] or SHIPPED),
            )
        return write_page(
            folder,
            model,
            description,
            title=plain["title"] or _title(plain["checkpoint"]),
            runtime=runtime,
            samples=None if plain["samples"] is None else Path(plain["samples"]),
            palette=plain["palette"],
            threshold=plain["threshold"],
        )


def _title(checkpoint: str | None) -> str:
    if checkpoint is None:
        return "Drawn shapes"
    path = Path(checkpoint)
    if not path.is_dir():
        return path.stem
    # A run's folder is called by its date alone.
    return f"{path.parent.name} {path.name}".strip() if path.name[:1].isdigit() else path.absolute().name


def _model(folder: Path, plain: dict[str, Any]) -> tuple[Path, Metadata]:
    """An .onnx file: the given one, or that of the checkpoint; before any decision, so that the page can make them."""
    checkpoint = plain["checkpoint"] or SHIPPED
    if is_exported(checkpoint):
        return Path(checkpoint), ExportedModel(checkpoint, threads=1).description
    from mnv2dense.export.formats.onnx import export, set_exam

    precision = cast(Precision, plain["precision"])
    model = load_model(checkpoint, packages=plain["packages"])
    size = None if plain["size"] is None else (plain["size"][0], plain["size"][1])
    graph = ExportGraph(model, size=size)
    description = graph.describe(precision)
    log.info("exporting the model to ONNX")
    calibration = _calibration(plain, graph) if precision == "int8" else None
    file = export(graph, folder / "model.onnx", description=description, calibration=calibration)
    log.info("making the exam that the page takes on each visitor's device")
    exam = make_exam(graph, description, ExamOptions(), exported=ExportedModel(file), weights=checksums(file))
    set_exam(file, exam.said)
    return file, replace(description, exam=exam.said)


def _calibration(plain: dict[str, Any], graph: ExportGraph) -> list[Tensor]:
    """Images for the ranges of int8."""
    folder = plain["calibration"] or plain["samples"]
    if folder is not None:
        images = images_of_folder(folder, _CALIBRATION_IMAGES)
    elif plain["checkpoint"] is None:
        images = drawn_images(_CALIBRATION_IMAGES)
    else:
        raise ValueError("precision=int8 needs images like those that the model will see: calibration=FOLDER.")
    return model_inputs(images, graph.size, graph.model.resize)
