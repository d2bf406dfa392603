"""sensitivity=true of an export: which layers int8 hurts most, as a table and in the run folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from rich.progress import Progress
from torch import Tensor

from mnv2dense.cli.shell import console
from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.sensitivity import SensitivityReport, sensitivity
from mnv2dense.quantization.int8 import int8_layers
from mnv2dense.quantization.targets import TARGETS, TargetName
from mnv2dense.reporting.run_folder import RunFolder

log = logging.getLogger(__name__)

# Each layer takes a pass over all of them, and the order of the layers is clear after a few.
_IMAGES = 8


def sensitivity_report(
    graph: ExportGraph,
    images: Sequence[Tensor],
    calibration: Sequence[Tensor] | None,
    folder: RunFolder,
    target: TargetName = "per_channel",
) -> SensitivityReport:
    """Measure, print, and write ``sensitivity.json``.

    Args:
        graph: what is exported.
        images: to compare on, uint8 [1, 3, H, W] each; a few are taken, spread evenly.
        calibration: that activations' ranges come from.
        folder: of the run.
        target: whose rounding.
    """
    few = images[:: -(-len(images) // _IMAGES)]
    layers = len(int8_layers(graph.model))
    log.info("playing int8 in each of %d layers on %d images", layers, len(few))
    with Progress(console=console(), transient=True) as bar:
        job = bar.add_task("layers", total=layers)
        report = sensitivity(
            graph, few, calibration=calibration, target=TARGETS[target], advance=lambda: bar.advance(job)
        )
    folder.write_metrics(report.plain(), "sensitivity.json")
    console().print(report.table())
    return report
