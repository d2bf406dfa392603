"""The work of tools/export.py: the model, the data to judge by, the gate, and the report."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch
from omegaconf import DictConfig

from mnv2dense.cli.export_data import ExportData
from mnv2dense.cli.export_options import ExportCommand
from mnv2dense.cli.export_sensitivity import sensitivity_report
from mnv2dense.cli.export_target import report_target
from mnv2dense.cli.parts import plain_config
from mnv2dense.cli.shell import console
from mnv2dense.export.gate import RefusedExportError, export_graph, tolerance_of
from mnv2dense.export.parity import ParityError
from mnv2dense.export.report import ExportReport
from mnv2dense.models.checkpoint import load_model
from mnv2dense.reporting.run_folder import RunFolder, refuse_a_run
from mnv2dense.runtimes.exported_model import ExportedModel
from mnv2dense.runtimes.formats import companions_of

log = logging.getLogger(__name__)


def run(config: DictConfig, command: ExportCommand) -> None:
    """Export what conf/export.yaml describes.

    Args:
        config: of the command.
        command: the same, checked.

    Raises:
        ParityError: the file does not answer as the model does.
        ValueError: options that do not fit the model or its data.
    """
    asked = command.asked
    model = load_model(config.checkpoint, packages=config.packages)
    if model.task == "joint" and (config.sensitivity or command.keep_worst):
        raise ValueError(
            "sensitivity=true and keep_float=auto:N look at models of one head; name layers that shall stay in float, "
            "as in keep_float=[backbone.stem]."
        )
    if model.task == "joint" and asked.target != "per_channel":
        raise ValueError(f"target={asked.target} plays models of one head; leave it out.")
    graph = asked.graph_of(model)
    config.task = model.task  # data and metrics go by it
    plain = plain_config(config)
    tolerance = tolerance_of(model, asked.precision, **command.tolerance)
    data = ExportData(config, graph.model, graph.size)

    folder = RunFolder.create(config.run_dir, task="export")
    refuse_a_run(folder, "Name another folder for the export.")
    output = folder.path / f"model{asked.suffix}" if config.output is None else Path(str(config.output))
    folder.log_to_file()
    folder.write_config(plain)
    folder.write_environment(seed=config.seed)
    torch.manual_seed(config.seed)

    calibration = data.calibration() if asked.calibrates else None
    images, images_from = data.images()
    prepared = asked.prepared(graph, calibration)
    if config.sensitivity or command.keep_worst:
        layers = sensitivity_report(prepared, images, calibration, folder, asked.target)
        if command.keep_worst and not asked.keep_float:
            asked = replace(asked, keep_float=layers.worst(command.keep_worst))
            prepared = asked.prepared(graph, calibration)  # what stays in float needs no cutting off
    if asked.target != "per_channel" and calibration is not None:
        report_target(graph, prepared, images, calibration, folder, asked=asked, data=data)

    def note(report: ExportReport) -> None:
        folder.write_metrics(report.plain(), "parity.json")
        console().print(report.table(data.headlines))
        for remark in report.notes:
            log.info(remark)

    try:
        report = export_graph(
            graph,
            output,
            asked,
            images=images,
            images_from=images_from,
            calibration=calibration,
            tolerance=tolerance,
            prepared=prepared,
        )
    except RefusedExportError as refused:
        note(refused.report)
        raise ParityError(f"{refused} See {folder.path}/parity.json.") from refused
    if report.parity is not None:
        report.scores = data.scores(ExportedModel(output, threads=asked.threads))
    note(report)
    if companions := companions_of(output):
        verb = "has" if len(companions) == 1 else "have"
        print(f"{' and '.join(map(str, companions))} {verb} to lie beside this file, wherever it goes:")
    print(output)
