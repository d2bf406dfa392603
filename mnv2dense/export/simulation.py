"""A device's rounding played in torch, before and after the repair: what it will cost, and what is won back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, final

import torch
from rich import box
from rich.table import Table
from torch import Tensor

from mnv2dense.export.answers import Loss, answer_of, loss_between
from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.tasks import TASKS
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.quantization.bias_correction import bias_corrected
from mnv2dense.quantization.int8 import int8_layers, simulated_int8
from mnv2dense.quantization.seen import seen_ranges
from mnv2dense.quantization.spread import Spread, spread_of
from mnv2dense.quantization.targets import PER_CHANNEL, Target

# Of a detector's twelve scores more would not fit beside each other.
_SHOWN_SCORES = 2


@contextmanager
def played(
    graph: ExportGraph, calibration: Sequence[Tensor], target: Target, keep_float: Sequence[str] = ()
) -> Iterator[ExportGraph]:
    """Within, a copy of a graph computes as its int8 file will: biases corrected, weights and activations rounded.

    Args:
        graph: is not changed.
        calibration: uint8 [1, 3, H, W] each, for the ranges of activations and the means of channels.
        target: whose rounding.
        keep_float: names of modules of the model that stay in float.
    """
    ranges, outputs = seen_ranges(graph.model, calibration, target)
    copied = bias_corrected(graph, calibration, keep_float, target=target)
    layers = [name for name in int8_layers(copied.model, keep_float) if name in ranges]
    with simulated_int8(copied.model, ranges, layers, outputs=outputs, target=target):
        yield copied


class Step(NamedTuple):
    """One way to compute.

    Attributes:
        words: which.
        loss: beside the float model.
        scores: on labelled data, where there is such.
    """

    words: str
    loss: Loss
    scores: Mapping[str, float]


@final
@dataclass(frozen=True)
class TargetReport:
    """What a device's rounding costs.

    Attributes:
        target: the device.
        task: of the model.
        images: how many it was measured on.
        steps: ways to compute, as it is to repaired.
        spreads: layer -> how unlike its channels are, as it is and repaired; the worst first.
        headlines: names of scores, the most telling first; the table shows two.
    """

    target: Target
    task: str
    images: int
    steps: tuple[Step, ...]
    spreads: Mapping[str, tuple[Spread, Spread]]
    headlines: tuple[str, ...] = field(default=())

    def plain(self) -> dict[str, Any]:
        """Every number, as json takes it."""
        return {
            "target": self.target.name,
            "images": self.images,
            "steps": [{"as": step.words, **step.loss.plain(), "scores": dict(step.scores)} for step in self.steps],
            "layers": {
                name: {"before": before._asdict(), "repaired": after._asdict()}
                for name, (before, after) in self.spreads.items()
            },
        }

    def table(self, count: int = 6) -> tuple[Table, Table]:
        """The steps, and the ``count`` layers whose channels are most unlike."""
        title = f"int8 with {self.target.words}, simulated on {self.images} images"
        names = self.headlines[:_SHOWN_SCORES]
        steps = _table(title, "", f"{TASKS[self.task].counted} agree", "SQNR, dB", *names)
        for step in self.steps:
            share = "-" if step.loss.agreement is None else f"{step.loss.agreement:.1%}"
            scores = [f"{step.scores[name]:.3f}" if name in step.scores else "" for name in names]
            steps.add_row(step.words, share, f"{step.loss.sqnr:.1f}", *scores)
        title = "largest weight of a channel, most : least; coarse: -1, 0 and 1 alone"
        layers = _table(title, "layer", "range", "coarse", "repaired", "coarse")
        for name, (before, after) in list(self.spreads.items())[:count]:
            layers.add_row(name, *before.cells, *after.cells)
        return steps, layers


@torch.no_grad()
def target_report(
    graph: ExportGraph,
    prepared: ExportGraph,
    images: Sequence[Tensor],
    calibration: Sequence[Tensor],
    target: Target,
    *,
    keep_float: Sequence[str] = (),
    score: Callable[[DenseModel], Mapping[str, float]] = lambda model: {},
    headlines: Sequence[str] = (),
) -> TargetReport:
    """Play a device's rounding of a model as it is and repaired, beside a scale for each channel and beside float32.

    Args:
        graph: what is to be exported.
        prepared: the same, repaired; or itself, where nothing is.
        images: to measure on, uint8 [1, 3, H, W] each.
        calibration: likewise, for ranges and means.
        target: the device.
        keep_float: names of modules that stay in float.
        score: gives a model's scores on labelled data.
        headlines: names of these, the most telling first.
    """
    exact = [answer_of(graph, image) for image in images]

    def measured(words: str, form: ExportGraph) -> Step:
        loss = loss_between(exact, [answer_of(form, image) for image in images])
        return Step(words, loss, score(form.model))

    steps = [measured("float32", graph)]
    ways = [("int8, a scale for each channel", graph, PER_CHANNEL), (f"int8, {target.words}", graph, target)]
    if prepared is not graph:
        steps.append(measured("float32, repaired", prepared))
        ways.append(("the same, repaired", prepared, target))
    for words, form, rounding in ways:
        with played(form, calibration, rounding, keep_float) as rounded:
            steps.append(measured(words, rounded))
    after = int8_layers(prepared.model)
    spreads = {
        name: (spread_of(layer.weight, target), spread_of(after[name].weight, target))
        for name, layer in int8_layers(graph.model, keep_float).items()
    }
    worst_first = sorted(spreads, key=lambda name: -spreads[name][0].coarse)
    return TargetReport(
        target,
        graph.model.task,
        len(images),
        tuple(steps),
        {name: spreads[name] for name in worst_first},
        tuple(headlines),
    )


def _table(title: str, first: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left", box=box.SIMPLE, show_edge=False, padding=(0, 1, 0, 0))
    made.add_column(first, no_wrap=True)
    for heading in columns:
        made.add_column(heading, justify="right")
    return made
