"""The work of tools/export.py: write the file, run it beside the model, refuse it where the two differ."""

from __future__ import annotations

import importlib
import logging
import tempfile
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from mnv2dense.cli.export_data import ExportData
from mnv2dense.cli.export_options import EXPORTERS, ExportOptions, check_decisions, own_options
from mnv2dense.cli.export_sensitivity import sensitivity_report
from mnv2dense.cli.parts import plain_config, refuse_a_run
from mnv2dense.cli.shell import console
from mnv2dense.export.counting import COUNTED_SCORE
from mnv2dense.export.graph import ExportGraph, check_names
from mnv2dense.export.layer_bisect import LAYER_TOLERANCE, CutGraph, first_divergence
from mnv2dense.export.parity import ParityError, Tolerance, compare
from mnv2dense.export.report import ExportReport
from mnv2dense.models.checkpoint import load_model
from mnv2dense.reporting.run_folder import RunFolder
from mnv2dense.runtimes.exported_model import ExportedModel
from mnv2dense.runtimes.metadata import Precision, is_exported
from mnv2dense.utils.timing import milliseconds, torch_threads

log = logging.getLogger(__name__)

# The search for the layer that diverges exports again and again, so it makes do with fewer pictures.
_SEARCH_CALIBRATION, _SEARCH_IMAGES = 16, 4

# Options of exporters that speak of the whole graph's outputs.
_OF_OUTPUTS = ("nms_node", "dynamic_size")


def run(config: DictConfig, asked: ExportOptions) -> None:
    """Export what conf/export.yaml describes.

    Args:
        config: of the command.
        asked: its options, checked.

    Raises:
        ParityError: the file does not answer as the model does; nothing is left in its place.
        ValueError: options that do not belong to this model, or pictures that are missing.
    """
    model = load_model(config.checkpoint, packages=config.packages)
    check_decisions(config, model.task)
    options = own_options(config, asked.exporter)
    graph = ExportGraph(model, decided=asked.decided, size=asked.size)
    check_names(graph.model, asked.keep_float)
    config.task = model.task  # data and metrics go by it
    plain = plain_config(config)
    tolerance = Tolerance.of(asked.precision, model.task, **asked.tolerance)
    data = ExportData(config, model, graph.size)

    folder = RunFolder.create(config.run_dir, task="export")
    refuse_a_run(folder, "Name another folder for the export.")
    output = folder.path / f"model{EXPORTERS[asked.exporter]}" if config.output is None else Path(str(config.output))
    folder.log_to_file()
    folder.write_config(plain)
    folder.write_environment(seed=config.seed)
    torch.manual_seed(config.seed)

    # Core ML's int8 is of weights alone, whose ranges are known.
    calibration = data.calibration() if asked.precision == "int8" and asked.exporter != "coreml" else None
    images, images_from = data.images()
    keep_float = asked.keep_float
    if config.sensitivity or asked.keep_worst:
        layers = sensitivity_report(graph, images, calibration, folder)
        keep_float = keep_float or layers.worst(asked.keep_worst)
    write = _Writer(asked, options, calibration, keep_float=keep_float, license=str(config.license or "unknown"))
    output.parent.mkdir(parents=True, exist_ok=True)
    # Under the name that it shall have there is never a file that failed, and an older one survives a failure.
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as made:
        log.info("writing %s", output)
        path = write(graph, Path(made) / output.name)
        report = ExportReport(
            exporter=asked.exporter,
            file=output,
            description=graph.describe(asked.precision),
            megabytes=sum(file.stat().st_size for file in Path(made).rglob("*") if file.is_file()) / 1e6,
            model_megabytes=4e-6 * sum(parameter.numel() for parameter in graph.model.parameters()),
            tolerance=tolerance,
            images_from=images_from,
            threads=config.threads,
        )
        if is_exported(path):
            exported = ExportedModel(path, threads=config.threads)
            _compare(report, graph, exported, images)
            if report.failures:
                report.diverges = _where(report, graph, images, write)
            else:
                report.scores = data.scores(model, exported)
        else:
            report.notes.append(f"{asked.exporter} runs on other systems than this: structure checked, not run.")
        folder.write_metrics(report.plain(), "parity.json")
        console().print(report.table(data.headlines))
        for note in report.notes:
            log.info(note)
        if report.failures:
            raise ParityError(
                f"{output} is refused: {'; '.join(report.failures)}; {report.diverges}. See {folder.path}/parity.json; "
                f"{_NEXT_STEPS[asked.precision]}"
            )
        _put_in_place(Path(made), output)
    print(output)


_NEXT_STEPS: dict[Precision, str] = {
    "fp32": "this is a fault of the exporter or the runtime, so try another version or another exporter.",
    "fp16": "keep it in fp32, or allow more with tolerance.agreement=.",
    "int8": "keep layers in float with keep_float=[...] (sensitivity=true lists those that lose most), calibrate on "
    "more pictures, or allow more with tolerance.agreement=.",
}


class _Writer:
    """The exporter with all that was asked of it: writes a graph, or one that was cut short, to a path."""

    def __init__(
        self,
        asked: ExportOptions,
        options: dict[str, Any],
        calibration: list[Tensor] | None,
        *,
        keep_float: list[str],
        license: str,
    ) -> None:
        self._asked = asked
        self._options = options
        self._calibration = calibration
        self._keep_float = keep_float
        self._license = license
        self._export = importlib.import_module(f"mnv2dense.export.formats.{asked.exporter}").export

    def __call__(self, graph: ExportGraph | CutGraph, path: Path) -> Path:
        calibration, options = self._calibration, self._options
        if isinstance(graph, CutGraph):
            calibration = None if calibration is None else calibration[:_SEARCH_CALIBRATION]
            options = {key: value for key, value in options.items() if key not in _OF_OUTPUTS}
        description = graph.describe(self._asked.precision, license=self._license)
        written: Path = self._export(
            graph, path, description=description, calibration=calibration, keep_float=self._keep_float, **options
        )
        return written


def _compare(report: ExportReport, graph: ExportGraph, exported: ExportedModel, images: list[Tensor]) -> None:
    """Fill in the report what the file's own runtime makes of the pictures."""
    report.description = exported.description
    log.info("comparing on %d pictures from %s", len(images), report.images_from)
    report.parity = compare(graph, exported, images)
    with torch_threads(report.threads):
        report.torch_ms = milliseconds(graph, images[0])
        report.file_ms = milliseconds(exported.run, images[0])
    report.failures = report.parity.failures(report.tolerance)
    if not report.failures and not report.parity.tells(report.tolerance):
        raise ParityError(
            f"{report.file} is refused: the model finds no box of score {COUNTED_SCORE} or more in the "
            f"{len(images)} pictures from {report.images_from}, so nothing tells whether the file would. Name "
            "images=FOLDER with what it looks for in them, or take the file unjudged with tolerance.agreement=0."
        )
    if report.parity.agreement is None:
        report.notes.append(
            f"The model finds no box of score {COUNTED_SCORE} in these pictures, so agreement cannot be told."
        )


def _where(report: ExportReport, graph: ExportGraph, images: list[Tensor], write: _Writer) -> str:
    """From which layer on the file answers otherwise, in words."""
    log.info("looking for the first layer that diverges; this exports parts of the model")
    with tempfile.TemporaryDirectory() as folder:
        found = first_divergence(
            graph,
            write,
            images[:_SEARCH_IMAGES],
            Path(folder),
            suffix=EXPORTERS[report.exporter],
            tolerance=LAYER_TOLERANCE[report.description.precision],
            threads=report.threads,
        )
    return str(found)


def _put_in_place(made: Path, output: Path) -> None:
    """Move all that was written beside each other to where it belongs.

    Of several files that belong together the named one goes last, and an older one of its name goes first: cut off in
    between, there is none, and never one with weights or a description beside it that are another's.
    """
    companions = [path for path in made.iterdir() if path.name != output.name]
    if output.is_dir() or (companions and output.exists()):
        output.rename(made / "older")
    for path in companions:
        path.replace(output.parent / path.name)
    (made / output.name).replace(output)
