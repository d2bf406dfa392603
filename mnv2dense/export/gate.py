"""A model as a file for a runtime, refused where it does not answer as the model does: the gate of every export."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, final

from torch import Tensor

from mnv2dense.export.calibration import drawn_images, images_of_folder, model_inputs
from mnv2dense.export.exam import make_exam
from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.options import ExamOptions, ExportOptions, check_output, exporter_of
from mnv2dense.export.parity import ParityError, Tolerance, compare
from mnv2dense.export.report import ExportReport
from mnv2dense.export.tasks import COUNTED_SCORE
from mnv2dense.export.writing import GraphWriter, divergence
from mnv2dense.io.inputs import pixels_of
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.ops.postprocess import JointSelection
from mnv2dense.quantization.targets import TargetName
from mnv2dense.runtimes.arena import read_arena
from mnv2dense.runtimes.exported_model import ExportedModel
from mnv2dense.runtimes.formats import files_of, is_exported, megabytes_of
from mnv2dense.runtimes.metadata import Precision
from mnv2dense.runtimes.stored_constants import checksums
from mnv2dense.utils.timing import milliseconds, torch_threads

if TYPE_CHECKING:
    from mnv2dense.io.inputs import ImageInput

log = logging.getLogger(__name__)

PARITY_IMAGES: Final = 64
"""So many images of a folder are compared on."""

CALIBRATION_IMAGES: Final = 100
"""So many images of a folder are calibrated with."""

_NEXT_STEPS: dict[Precision, str] = {
    "fp32": "This is a fault of the exporter or the runtime, so try another version or another exporter.",
    "fp16": "Keep it in fp32, or allow more with tolerance.agreement=.",
    "int8": "Keep layers in float with keep_float=[...] (sensitivity=true lists those that lose most), calibrate on "
    "more images, or allow more with tolerance.agreement=.",
}


@final
class RefusedExportError(ParityError):
    """A file that answers otherwise than its model, or that nothing tells of whether it would.

    Attributes:
        report: what was found, as far as it went.
    """

    def __init__(self, message: str, report: ExportReport) -> None:
        super().__init__(message)
        self.report = report


def export_model(
    model: DenseModel,
    path: str | Path,
    *,
    exporter: str | None = None,
    precision: Precision = "fp32",
    images: str | Path | Sequence[ImageInput] | None = None,
    calibration: str | Path | Sequence[ImageInput] | None = None,
    nms: bool | Literal["node"] = False,
    labels: bool = False,
    size: tuple[int, int] | None = None,
    selection: Mapping[str, float] | None = None,
    keep_float: Sequence[str] = (),
    target: TargetName = "per_channel",
    repair: bool = True,
    options: Mapping[str, Any] | None = None,
    tolerance: Tolerance | None = None,
    license: str = "unknown",
    threads: int | None = None,
    exam: ExamOptions | None = None,
    split: int | Literal["auto"] | None = None,
) -> ExportReport:
    """Write a model as a file for a runtime, run it there beside the model, and keep it only if both answer alike.

    ``mnv2dense.export_model(model, "detector.tflite", precision="int8", calibration="photos", nms=True)``

    Args:
        model: of any task; is not changed.
        path: of the file; an older one is replaced when the new one has passed, with what belongs beside it.
        exporter: "onnx", "openvino", "executorch", "litert", "ncnn" or "coreml"; None goes by the suffix of ``path``.
        precision: "fp32", "fp16" or "int8".
        images: to compare file and model on: a folder, of which 64 are taken, or images as
            :class:`mnv2dense.Predictor` takes them. None takes those to calibrate with, or draws shapes.
        calibration: for int8's ranges, likewise (100 of a folder): images like those that the model will see.
        nms: of detectors: whether boxes are suppressed inside the file; "node" does it by ONNX's own operator.
        labels: of segmentation: whether the class of every pixel comes out, and not logits on a coarser grid.
        size: (height, width) of the file's input, pixels; None is the model's own; SSDLite has no other.
        selection: of detectors: ``score_threshold``, ``nms_threshold`` or ``limit``, where not the model's own.
        keep_float: names of modules that stay in float at int8, such as "backbone.stem".
        target: of int8: the kind of device whose rounding the file has: "per_channel", "per_tensor" or "power_of_two".
        repair: of the latter two: whether the weights are made ready for it, see :mod:`mnv2dense.export.repair`.
        options: of the exporter alone, such as ``{"dynamic_size": True}`` of ONNX.
        tolerance: how far apart file and model may be; None is what the precision should reach on the task.
        license: of the weights, for whoever gets the file: an SPDX expression or a sentence.
        threads: of the runtime and of torch beside it; None is what they take.
        exam: pictures and answers that the file carries, for :func:`mnv2dense.check_file`; None draws three.
        split: how many groups of channels the file computes each block in (the paper's section 5.1), so that it holds
            less while it runs; "auto" cuts the blocks that hold most. The file is compared with the whole model.

    Returns:
        The comparison, its numbers as attributes; its ``table()`` is for rich.

    Raises:
        RefusedExportError: the file answers otherwise; the message names the first layer that diverges.
        ValueError: an option that cannot be, or no images for int8; said before any work.
        ImportError: what the exporter needs is not installed; said before any work.
        OSError: a folder or image cannot be read, or the file cannot be written.
    """
    path = Path(path)
    asked = ExportOptions(
        exporter=exporter_of(path) if exporter is None else exporter,
        precision=precision,
        nms=nms,
        labels=labels,
        size=size,
        selection=selection or {},
        keep_float=keep_float,
        target=target,
        repair=repair,
        options=options or {},
        license=license,
        threads=threads,
        exam=exam or ExamOptions(),
        split=split,
    )
    check_output(path, asked.exporter)
    graph = asked.graph_of(model)
    ranges = None
    if asked.calibrates and calibration is not None:
        ranges = _inputs(graph, calibration, CALIBRATION_IMAGES)
    compared = calibration if images is None else images
    if compared is None:
        found, source = model_inputs(drawn_images(PARITY_IMAGES), graph.size, model.resize), "drawn shapes"
    else:
        found = _inputs(graph, compared, PARITY_IMAGES)
        source = str(compared) if isinstance(compared, str | Path) else "those given"
    return export_graph(graph, path, asked, images=found, images_from=source, calibration=ranges, tolerance=tolerance)


def export_graph(
    graph: ExportGraph,
    path: Path,
    asked: ExportOptions,
    *,
    images: Sequence[Tensor],
    images_from: str,
    calibration: Sequence[Tensor] | None = None,
    tolerance: Tolerance | None = None,
    prepared: ExportGraph | None = None,
) -> ExportReport:
    """The same for images that are resized already.

    Args:
        graph: of ``asked.graph_of(model)``.
        path: of the file; see :func:`check_output`.
        asked: what is asked of it.
        images: to compare on, uint8 [1, 3, H, W] each.
        images_from: where these come from, in words.
        calibration: for int8's ranges, likewise.
        tolerance: see :func:`export_model`.
        prepared: what is written in the graph's place; None makes it, see :meth:`ExportOptions.prepared`.

    Raises:
        RefusedExportError: the file answers otherwise.
        ValueError: there are no images, or none to calibrate with.
    """
    if not images:
        raise ValueError("there are no images to compare the file and its model on.")
    asked.module.WRITER.check_calibration(asked.precision, calibration)
    write = GraphWriter(asked, calibration)
    if prepared is None:
        prepared = asked.prepared(graph, calibration)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Under the name that it shall have there is never a file that failed, and an older one survives a failure.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as made:
        log.info("writing %s (%s)", path, _stages(asked, calibration))
        cut = asked.written(prepared)
        written = write(cut, Path(made) / path.name)
        report = ExportReport(
            exporter=asked.exporter,
            file=path,
            description=cut.describe(asked.precision, license=asked.license),
            megabytes=megabytes_of(files_of(written)),
            model_megabytes=4e-6 * sum(parameter.numel() for parameter in graph.model.parameters()),
            tolerance=tolerance or tolerance_of(graph.model, asked.precision),
            images_from=images_from,
            threads=asked.threads,
        )
        if is_exported(written):
            _read_arena(report, written)
            _compare(report, graph, ExportedModel(written, threads=asked.threads), images)
            if report.failures:
                report.diverges = str(divergence(cut, write, images))
                raise RefusedExportError(
                    f"{path} is refused: {'; '.join(report.failures)}; {report.diverges}. "
                    f"{_NEXT_STEPS[asked.precision]}",
                    report,
                )
        else:
            report.notes.append(f"{asked.exporter} runs on other systems than this: structure checked, not run.")
        _add_exam(report, graph, asked, written)
        put_in_place(Path(made), path)
    return report


def tolerance_of(
    model: DenseModel, precision: Precision, *, difference: float | None = None, agreement: float | None = None
) -> Tolerance:
    """What a file of a model should reach, see :meth:`Tolerance.of`; of several heads, each by its own task."""
    parts = model.selection.tasks if isinstance(model.selection, JointSelection) else {}
    return Tolerance.of(precision, model.task, difference=difference, agreement=agreement, parts=parts)


def put_in_place(made: Path, output: Path) -> None:
    """Move all that was written beside each other to where it belongs.

    Of several files that belong together the named one goes last, and an older one of its name goes first: cut off in
    between, there is none, and never one with weights or metadata beside it that are another's.

    Args:
        made: a folder with a file, or folder, of the name of ``output``, and with what belongs beside it.
        output: where it shall be.
    """
    companions = [path for path in made.iterdir() if path.name != output.name]
    if output.is_dir() or (companions and output.exists()):
        output.rename(made / "older")
    for path in companions:
        path.replace(output.parent / path.name)
    (made / output.name).replace(output)


def _inputs(graph: ExportGraph, images: str | Path | Sequence[ImageInput], count: int) -> list[Tensor]:
    """Images as the graph takes them."""
    pixels = images_of_folder(images, count) if isinstance(images, str | Path) else map(pixels_of, images)
    return model_inputs(pixels, graph.size, graph.model.resize)


def _stages(asked: ExportOptions, calibration: Sequence[Tensor] | None) -> str:
    if calibration is None:
        return f"{asked.precision} for {asked.exporter}"
    return f"{asked.precision} for {asked.exporter}, calibrated with {len(calibration)} images"


def _read_arena(report: ExportReport, written: Path) -> None:
    """A file is no worse for a plan that cannot be read."""
    try:
        report.arena = read_arena(written)
    except ValueError as error:
        report.notes.append(f"its arena is not known: {error}")


def _compare(report: ExportReport, graph: ExportGraph, exported: ExportedModel, images: Sequence[Tensor]) -> None:
    """Fill in the report what the file's own runtime makes of the images."""
    report.description = exported.description
    log.info("comparing file and model on %d images from %s", len(images), report.images_from)
    report.parity = compare(graph, exported, images)
    with torch_threads(report.threads):
        report.torch_ms = milliseconds(graph, images[0])
        report.file_ms = milliseconds(exported.run, images[0])
    report.failures = report.parity.failures(report.tolerance)
    if not report.failures and not report.parity.tells(report.tolerance):
        why = f"the model finds no box of score {COUNTED_SCORE} or more in the {len(images)} images"
        report.failures = [why]
        raise RefusedExportError(
            f"{report.file} is refused: {why} from {report.images_from}, so nothing tells whether the file would. Name "
            "images=FOLDER with what it looks for in them, or take the file unjudged with tolerance.agreement=0.",
            report,
        )
    if report.parity.agreement is None:
        report.notes.append(
            f"The model finds no box of score {COUNTED_SCORE} in these images, so agreement cannot be told."
        )


def _add_exam(report: ExportReport, graph: ExportGraph, asked: ExportOptions, written: Path) -> None:
    """Let the file carry its own exam, for whoever gets it."""
    set_exam = getattr(asked.module, "set_exam", None)
    if set_exam is None or asked.exam.pictures == 0:
        return
    exported = ExportedModel(written, threads=asked.threads) if is_exported(written) else None
    description = report.description if exported is None else exported.description
    made = make_exam(graph, description, asked.exam, exported=exported, weights=checksums(written))
    set_exam(written, made.said)
    report.megabytes = megabytes_of(files_of(written))
    report.notes += made.notes
