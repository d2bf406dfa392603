"""tools/export.py: a model as a file for a runtime, refused where it does not answer as the model does."""

from __future__ import annotations

import difflib
import importlib
import inspect
import logging
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from mnv2dense.checkpoint import load_model
from mnv2dense.cli.export_data import ExportData
from mnv2dense.cli.export_sensitivity import sensitivity_report
from mnv2dense.cli.parts import plain_config, refuse_a_run
from mnv2dense.cli.shell import CONSOLE, run_command
from mnv2dense.description import PRECISIONS, Precision
from mnv2dense.divergence import LAYER_TOLERANCE, CutGraph, first_divergence
from mnv2dense.export_report import ExportReport
from mnv2dense.exported import SUFFIXES, ExportedModel, is_exported
from mnv2dense.exporters.graph import ExportGraph
from mnv2dense.parity import ParityError, Tolerance, compare, milliseconds, torch_threads
from mnv2dense.run_folder import RunFolder

log = logging.getLogger(__name__)

EXPORTERS = {module: suffix for suffix, module in SUFFIXES.items()} | {"coreml": ".mlpackage"}
"""Module of :mod:`mnv2dense.exporters` -> suffix of its files. Core ML's run on Apple's systems alone."""

# The search for the layer that diverges exports again and again, so it makes do with fewer pictures.
_SEARCH_CALIBRATION, _SEARCH_PICTURES = 16, 4

# Options of exporters that speak of the whole graph's outputs.
_OF_OUTPUTS = ("nms_node", "dynamic_size")


def export() -> None:
    """``mnv2dense-export`` and tools/export.py."""
    run_command("export", _export)


@dataclass(frozen=True)
class _Asked:
    """What the command line asks for, checked."""

    exporter: str
    precision: Precision
    size: tuple[int, int] | None
    decided: bool
    keep_float: list[str]
    keep_worst: int  # layers by the sensitivity report, where keep_float names none
    options: dict[str, Any]


def _export(config: DictConfig) -> None:
    if is_exported(config.checkpoint):
        raise ValueError(f"checkpoint={config.checkpoint} is an exported file already; give what it was made of.")
    asked = _asked(config, str(config.exporter))
    model = load_model(config.checkpoint, packages=config.packages)
    _check_decisions(config, model.task)
    graph = ExportGraph(model, decided=asked.decided, size=asked.size)
    config.task = model.task  # data and metrics go by it
    plain = plain_config(config)
    tolerance = Tolerance.of(asked.precision, model.task, **plain["tolerance"])
    data = ExportData(config, model, graph.size)

    folder = RunFolder.create(config.run_dir, task="export")
    refuse_a_run(folder, "Name another folder for the export.")
    output = _output(config.output, folder.path, EXPORTERS[asked.exporter])
    folder.log_to_file()
    folder.write_config(plain)
    folder.write_environment(seed=config.seed)
    torch.manual_seed(config.seed)

    # Core ML's int8 is of weights alone, whose ranges are known.
    calibration = data.calibration() if asked.precision == "int8" and asked.exporter != "coreml" else None
    pictures, pictures_from = data.pictures()
    keep_float = asked.keep_float
    if config.sensitivity or asked.keep_worst:
        layers = sensitivity_report(graph, pictures, calibration, folder)
        keep_float = keep_float or layers.worst(asked.keep_worst)
    write = _Writer(asked, calibration, keep_float=keep_float, license=str(config.license))
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
            pictures_from=pictures_from,
            threads=config.threads,
        )
        if is_exported(path):
            exported = ExportedModel(path, threads=config.threads)
            _compare(report, graph, exported, pictures)
            if report.failures:
                report.diverges = _where(report, graph, pictures, write)
            else:
                report.scores = data.scores(model, exported)
        else:
            report.notes.append(f"{asked.exporter} runs on other systems than this: structure checked, not run.")
        folder.write_metrics(report.plain(), "parity.json")
        CONSOLE.print(report.table(data.headlines))
        for note in report.notes:
            log.info(note)
        if report.failures:
            raise ParityError(
                f"{output} is refused: {'; '.join(report.failures)}. {report.diverges}. See {folder.path}/parity.json; "
                f"{_NEXT_STEPS[asked.precision]}"
            )
        _move(Path(made), output.parent)
    print(output)


_NEXT_STEPS: dict[Precision, str] = {
    "fp32": "this is a fault of the exporter or the runtime, so try another version or another exporter.",
    "fp16": "keep it in fp32, or allow more with tolerance.agreement=.",
    "int8": "keep that layer in float with keep_float=[...] (sensitivity=true lists those that lose most), or allow "
    "more with tolerance.agreement=.",
}


class _Writer:
    """The exporter with all that was asked of it: writes a graph, or one that was cut short, to a path."""

    def __init__(self, asked: _Asked, calibration: list[Tensor] | None, *, keep_float: list[str], license: str) -> None:
        self._asked = asked
        self._calibration = calibration
        self._keep_float = keep_float
        self._license = license
        self._export = importlib.import_module(f"mnv2dense.exporters.{asked.exporter}").export

    def __call__(self, graph: ExportGraph | CutGraph, path: Path) -> Path:
        calibration, options = self._calibration, self._asked.options
        if isinstance(graph, CutGraph):
            calibration = None if calibration is None else calibration[:_SEARCH_CALIBRATION]
            options = {key: value for key, value in options.items() if key not in _OF_OUTPUTS}
        description = graph.describe(self._asked.precision, license=self._license)
        written: Path = self._export(
            graph, path, description=description, calibration=calibration, keep_float=self._keep_float, **options
        )
        return written


def _compare(report: ExportReport, graph: ExportGraph, exported: ExportedModel, pictures: list[Tensor]) -> None:
    """Fill in the report what the file's own runtime makes of the pictures."""
    report.description = exported.description
    log.info("comparing on %d pictures from %s", len(pictures), report.pictures_from)
    report.parity = compare(graph, exported, pictures)
    with torch_threads(report.threads):
        report.torch_ms = milliseconds(graph, pictures[0])
        report.file_ms = milliseconds(exported.run, pictures[0])
    report.failures = report.parity.failures(report.tolerance)
    if report.parity.agreement is None:
        report.notes.append("The model finds no box of score 0.3 in these pictures, so agreement cannot be told.")


def _where(report: ExportReport, graph: ExportGraph, pictures: list[Tensor], write: _Writer) -> str:
    """From which layer on the file answers otherwise, in words."""
    log.info("looking for the first layer that diverges; this exports parts of the model")
    with tempfile.TemporaryDirectory() as folder:
        found = first_divergence(
            graph,
            write,
            pictures[:_SEARCH_PICTURES],
            Path(folder),
            suffix=EXPORTERS[report.exporter],
            tolerance=LAYER_TOLERANCE[report.description.precision],
            threads=report.threads,
        )
    return str(found)


def _asked(config: DictConfig, exporter: str) -> _Asked:
    _check_choice("exporter", exporter, list(EXPORTERS))
    _check_choice("precision", str(config.precision), PRECISIONS)
    _check_choice("nms", config.nms, [False, True, "node"])
    _check_choice("labels", config.labels, [False, True])
    if config.nms == "node" and exporter != "onnx":
        raise ValueError(f"nms=node is ONNX's own operator, which {exporter} lacks; take nms=true.")
    options = cast(dict[str, Any], OmegaConf.to_container(config.options, resolve=True))
    parameters = inspect.signature(importlib.import_module(f"mnv2dense.exporters.{exporter}").export).parameters
    own = {"graph", "path", "description", "calibration", "keep_float", "nms_node"}
    for name in options:
        if name in own or name not in parameters:
            choices = ", ".join(sorted(parameters.keys() - own)) or "none"
            raise ValueError(f"options.{name}: {exporter} has no such option; it has {choices}.")
    if config.nms == "node":
        options["nms_node"] = True
    keep_float, keep_worst = _keep_float(config)
    return _Asked(
        exporter=exporter,
        precision=cast(Precision, str(config.precision)),
        size=_size(config.size),
        decided=config.nms is True or config.labels,
        keep_float=keep_float,
        keep_worst=keep_worst,
        options=options,
    )


def _keep_float(config: DictConfig) -> tuple[list[str], int]:
    """Names of modules, or how many the sensitivity report chooses."""
    kept = config.keep_float
    if not isinstance(kept, str):
        names, worst = [str(name) for name in kept], 0
    elif (found := re.fullmatch(r"auto:([1-9]\d*)", kept)) is not None:
        names, worst = [], int(found[1])
    else:
        raise ValueError(
            f"keep_float={kept}: give a list, as in keep_float=[backbone.stem], or auto:4 for the 4 worst."
        )
    if (config.sensitivity or worst) and (config.precision != "int8" or config.exporter == "coreml"):
        key = "sensitivity=true" if config.sensitivity else f"keep_float={kept}"
        raise ValueError(f"{key} tells what int8 activations cost: add precision=int8, and an exporter but coreml.")
    return names, worst


def _check_choice(key: str, value: object, choices: Sequence[object]) -> None:
    if value in choices:
        return
    words = [str(choice).lower() if isinstance(choice, bool) else str(choice) for choice in choices]
    close = difflib.get_close_matches(str(value).lower(), words, n=1)
    meant = f"; did you mean {key}={close[0]}?" if close else "."
    raise ValueError(f"{key}={value}: there is no such choice{meant} Choose from {', '.join(words)}.")


def _check_decisions(config: DictConfig, task: str) -> None:
    for key, own in (("nms", "detection"), ("labels", "segmentation")):
        if config[key] is not False and task != own:
            word = str(config[key]).lower()
            raise ValueError(f"{key}={word} is for {own}, and this model is for {task}; leave {key} out.")


def _size(size: Any) -> tuple[int, int] | None:  # noqa: ANN401
    if size is None:
        return None
    sides = OmegaConf.to_container(size) if OmegaConf.is_config(size) else size
    if not isinstance(sides, list) or [type(side) for side in sides] != [int, int] or min(sides) < 32:
        raise ValueError(f"size={sides}: give height and width, 32 pixels or more, as in size=[320,320].")
    return sides[0], sides[1]


def _output(output: str | None, folder: Path, suffix: str) -> Path:
    path = folder / f"model{suffix}" if output is None else Path(output)
    if path.suffix.lower() != suffix:
        raise ValueError(f"output={output}: such a file ends in {suffix}.")
    return path


def _move(made: Path, folder: Path) -> None:
    """All that was written takes its place, a folder (Core ML's) as a whole."""
    for path in sorted(made.iterdir()):
        target = folder / path.name
        if target.is_dir():
            shutil.rmtree(target)
        path.replace(target)
