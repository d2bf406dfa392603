"""Which layers lose most in int8, whatever runtime will compute it: what to keep in float."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from rich import box
from rich.table import Table
from torch import Tensor

from mnv2dense.export.answers import Loss, answer_of, loss_between
from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.tasks import TASKS
from mnv2dense.quantization.int8 import int8_layers, simulated_int8
from mnv2dense.quantization.seen import seen_ranges
from mnv2dense.quantization.spread import Spread, spread_of
from mnv2dense.quantization.targets import PER_CHANNEL, Target

# How many of the worst layers are kept in float, to see what that brings.
_KEPT = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class LayerLoss(Loss):
    """What int8 in one layer alone costs.

    Attributes:
        name: as in the model's ``named_modules()``, and as ``keep_float`` takes it.
        low, high: range of what goes into the layer.
        spread: of its weights' channels, where they share a scale.
    """

    name: str
    low: float
    high: float
    spread: Spread | None = None


@final
@dataclass(frozen=True)
class SensitivityReport:
    """Every layer's share in what int8 costs.

    Attributes:
        task: of the model.
        images: how many it was measured on.
        layers: each alone in int8, the worst first.
        together: all in int8.
        kept: (n, loss with the n worst kept in float).
        target: whose rounding it is.
    """

    task: str
    images: int
    layers: tuple[LayerLoss, ...]
    together: Loss
    kept: tuple[tuple[int, Loss], ...]
    target: Target = PER_CHANNEL

    def worst(self, count: int) -> list[str]:
        """Names of the layers that lose most, for ``keep_float``."""
        return [layer.name for layer in self.layers[:count]]

    def plain(self) -> dict[str, Any]:
        """Every number, as json takes it; infinite ones are None."""
        return {
            "task": self.task,
            "images": self.images,
            "target": self.target.name,
            "together": self.together.plain(),
            "kept": [{"layers": count, **loss.plain()} for count, loss in self.kept],
            "layers": [layer.plain() for layer in self.layers],
        }

    def table(self, count: int = 12) -> Table:
        """The ``count`` worst layers, and what keeping them in float brings."""
        title = f"int8 layer by layer, {self.target.words}, simulated on {self.images} images"
        made = Table(title=title, title_justify="left", box=box.SIMPLE, show_edge=False, padding=(0, 1, 0, 0))
        made.add_column("in int8", no_wrap=True)
        for heading in ("SQNR, dB", f"{TASKS[self.task].counted} agree", "range of its input"):
            made.add_column(heading, justify="right")
        if not self.target.per_channel:
            for heading in ("range of channels", "coarse"):
                made.add_column(heading, justify="right")
        for layer in self.layers[:count]:
            spread = () if layer.spread is None else layer.spread.cells
            made.add_row(layer.name, *_row(layer), f"{layer.low:.3g} .. {layer.high:.3g}", *spread)
        made.add_section()
        made.add_row(f"all {len(self.layers)} layers", *_row(self.together), "")
        for number, loss in self.kept:
            made.add_row("all but the worst" if number == 1 else f"all but the {number} worst", *_row(loss), "")
        return made


@torch.no_grad()
def sensitivity(
    graph: ExportGraph,
    images: Sequence[Tensor],
    *,
    calibration: Sequence[Tensor] | None = None,
    target: Target = PER_CHANNEL,
    advance: Callable[[], object] = lambda: None,
) -> SensitivityReport:
    """Play int8 in every layer alone, in all together, and in all but the worst.

    One forward pass over the images for each layer, so a handful of images will do for the order of the layers.

    Args:
        graph: what is to be exported; is as it was afterwards.
        images: uint8 [1, 3, H, W] each.
        calibration: images that activations' ranges are taken from; None takes ``images``.
        target: whose rounding.
        advance: called after each layer.

    Raises:
        ValueError: no images.
    """
    if not images:
        raise ValueError("sensitivity needs images to measure on: give some like those that the model will see.")
    model = graph.model
    ranges, outputs = seen_ranges(model, images if calibration is None else calibration, target)
    exact = [answer_of(graph, image) for image in images]
    weights = int8_layers(model)

    def loss_of(layers: Sequence[str]) -> Loss:
        with simulated_int8(model, ranges, layers, outputs=outputs, target=target):
            return loss_between(exact, [answer_of(graph, image) for image in images])

    found = []
    for name, bounds in ranges.items():
        loss = loss_of([name])
        spread = None if target.per_channel else spread_of(weights[name].weight, target)
        found.append(LayerLoss(loss.sqnr, loss.agreement, name, bounds.low, bounds.high, spread))
        advance()
    found.sort(key=lambda layer: layer.sqnr)
    names = [layer.name for layer in found]
    return SensitivityReport(
        task=model.task,
        images=len(images),
        layers=tuple(found),
        together=loss_of(names),
        kept=tuple((count, loss_of(names[count:])) for count in _KEPT if count < len(names)),
        target=target,
    )


def _row(loss: Loss) -> tuple[str, str]:
    return f"{loss.sqnr:.1f}", "-" if loss.agreement is None else f"{loss.agreement:.1%}"
