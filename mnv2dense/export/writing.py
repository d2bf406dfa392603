"""An exporter with all that was asked of it, and the search for the layer from which on its files answer otherwise."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

from torch import Tensor

from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.layer_bisect import LAYER_TOLERANCE, CutGraph, Divergence, first_divergence
from mnv2dense.export.options import ExportOptions

log = logging.getLogger(__name__)

# The search for the layer that diverges exports again and again, so it makes do with fewer images.
_SEARCH_CALIBRATION, _SEARCH_IMAGES = 16, 4

# Options of exporters that speak of the whole graph's outputs.
_OF_OUTPUTS = ("nms_node", "dynamic_size")


@final
class GraphWriter:
    """Writes a graph, or one that was cut short, to a path.

    Args:
        asked: of the export.
        calibration: uint8 [1, 3, H, W] each; None where nothing is calibrated.
    """

    def __init__(self, asked: ExportOptions, calibration: Sequence[Tensor] | None) -> None:
        self.asked = asked
        self._calibration = calibration
        self._export = asked.module.export

    def __call__(self, graph: ExportGraph | CutGraph, path: Path) -> Path:
        """The file that was written."""
        asked, calibration = self.asked, self._calibration
        options = dict(asked.options) | ({"nms_node": True} if asked.nms == "node" else {})
        if isinstance(graph, CutGraph):
            calibration = None if calibration is None else calibration[:_SEARCH_CALIBRATION]
            options = {key: value for key, value in options.items() if key not in _OF_OUTPUTS}
        description = graph.describe(asked.precision, license=asked.license)
        if asked.target != "per_channel":  # others' exporters need not know of it
            options["target"] = asked.target
            description = replace(description, extra={**description.extra, "target": asked.target})
        written: Path = self._export(
            graph, path, description=description, calibration=calibration, keep_float=asked.keep_float, **options
        )
        return written


def divergence(graph: ExportGraph, write: GraphWriter, images: Sequence[Tensor]) -> Divergence:
    """From which layer on files of a graph answer otherwise than it does.

    Args:
        graph: what is written.
        write: writes it.
        images: uint8 [1, 3, H, W] each, of which a few are looked at.
    """
    log.info("looking for the first layer that diverges; this exports parts of the model")
    asked = write.asked
    with tempfile.TemporaryDirectory() as folder:
        return first_divergence(
            graph,
            write,
            images[:_SEARCH_IMAGES],
            Path(folder),
            suffix=asked.suffix,
            tolerance=LAYER_TOLERANCE[asked.precision],
            threads=asked.threads,
        )
