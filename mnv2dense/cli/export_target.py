"""target=... of an export: a device's rounding played in torch, as a table and in the run folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from torch import Tensor

from mnv2dense.cli.export_data import ExportData
from mnv2dense.cli.shell import console
from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.options import ExportOptions
from mnv2dense.export.simulation import target_report
from mnv2dense.quantization.targets import TARGETS
from mnv2dense.reporting.run_folder import RunFolder

log = logging.getLogger(__name__)

# Each way to compute takes a pass over all of them, and rounding in float is slow.
_IMAGES = 32


def report_target(
    graph: ExportGraph,
    prepared: ExportGraph,
    images: Sequence[Tensor],
    calibration: Sequence[Tensor],
    folder: RunFolder,
    *,
    asked: ExportOptions,
    data: ExportData,
) -> None:
    """Measure, print, and write ``target.json``.

    Args:
        graph: what is exported.
        prepared: what is written in its place.
        images: to compare on, uint8 [1, 3, H, W] each; a few are taken, spread evenly.
        calibration: that activations' ranges come from.
        folder: of the run.
        asked: of the export.
        data: scores each way to compute, where the command line names data.
    """
    few = images[:: -(-len(images) // _IMAGES)]
    log.info("playing target=%s on %d images", asked.target, len(few))
    report = target_report(
        graph,
        prepared,
        few,
        calibration,
        TARGETS[asked.target],
        keep_float=asked.keep_float,
        score=data.scores_of,
        headlines=list(data.headlines),
    )
    folder.write_metrics(report.plain(), "target.json")
    for table in report.table():
        console().print(table)
