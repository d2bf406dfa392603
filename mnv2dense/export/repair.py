"""A model made ready for a device with one scale for each tensor: the same answers, weights that lose less."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import Tensor

from mnv2dense.export.graph import ExportGraph
from mnv2dense.quantization.clipping import clip
from mnv2dense.quantization.equalization import equalize
from mnv2dense.quantization.linked_layers import links
from mnv2dense.quantization.seen import channel_peaks
from mnv2dense.quantization.targets import Target

# All of them go through a layer at once, a few times.
_CLIPPED_ON = 4


def equalized(graph: ExportGraph, calibration: Sequence[Tensor]) -> ExportGraph:
    """A copy whose channels have weights of like range, and that answers as the graph does.

    Args:
        graph: what is exported.
        calibration: uint8 [1, 3, H, W] each; tell which channels their ReLU6 clips.
    """
    graph = copy.deepcopy(graph)
    equalize(graph.model, links(graph.model, graph.size), channel_peaks(graph.model, calibration))
    return graph


def repaired(
    graph: ExportGraph, calibration: Sequence[Tensor], target: Target, keep_float: Sequence[str] = ()
) -> ExportGraph:
    """A copy for a device, to be rounded: channels evened out, then weights cut off where their steps gain more.

    Args:
        graph: what is exported.
        calibration: uint8 [1, 3, H, W] each.
        target: the device's rounding; one with a scale for each channel needs no repair, and gets the copy alone.
        keep_float: names of modules of the model that will not be rounded.
    """
    if target.per_channel:
        return copy.deepcopy(graph)
    made = equalized(graph, calibration)
    clip(made.model, calibration[:: -(-len(calibration) // _CLIPPED_ON)], target, keep_float)
    return made
