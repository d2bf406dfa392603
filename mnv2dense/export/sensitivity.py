"""Which layers lose most in int8, whatever runtime will compute it: what to keep in float."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import compress
from typing import Any, final

import torch
from rich import box
from rich.table import Table
from torch import Tensor

from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.tasks import COUNTED_SCORE, TASKS
from mnv2dense.quantization.int8 import input_ranges, simulated_int8
from mnv2dense.types import PixelLogits, ScoredBoxes

# How many of the worst layers are kept in float, to see what that brings.
_KEPT = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Loss:
    """What int8 costs.

    Attributes:
        sqnr: signal to quantisation noise of the network's raw outputs, dB; infinite where nothing changes.
        agreement: share of equal answers, 0..1: classes of images, of pixels of the logits' grid, or of anchors
            with a score of at least 0.3 before or after; None where there are none.
    """

    sqnr: float
    agreement: float | None


@dataclass(frozen=True)
class LayerLoss(Loss):
    """What int8 in one layer alone costs.

    Attributes:
        name: as in the model's ``named_modules()``, and as ``keep_float`` takes it.
        low, high: range of what goes into the layer.
    """

    name: str
    low: float
    high: float


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
    """

    task: str
    images: int
    layers: tuple[LayerLoss, ...]
    together: Loss
    kept: tuple[tuple[int, Loss], ...]

    def worst(self, count: int) -> list[str]:
        """Names of the layers that lose most, for ``keep_float``."""
        return [layer.name for layer in self.layers[:count]]

    def plain(self) -> dict[str, Any]:
        """Every number, as json takes it; infinite ones are None."""
        return {
            "task": self.task,
            "images": self.images,
            "together": _plain(self.together),
            "kept": [{"layers": count, **_plain(loss)} for count, loss in self.kept],
            "layers": [_plain(layer) for layer in self.layers],
        }

    def table(self, count: int = 12) -> Table:
        """The ``count`` worst layers, and what keeping them in float brings."""
        title = f"int8 layer by layer, simulated on {self.images} images"
        made = Table(title=title, title_justify="left", box=box.SIMPLE, show_edge=False, padding=(0, 1, 0, 0))
        made.add_column("in int8", no_wrap=True)
        for heading in ("SQNR, dB", f"{TASKS[self.task].counted} agree", "range of its input"):
            made.add_column(heading, justify="right")
        for layer in self.layers[:count]:
            made.add_row(layer.name, *_row(layer), f"{layer.low:.3g} .. {layer.high:.3g}")
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
    advance: Callable[[], object] = lambda: None,
) -> SensitivityReport:
    """Play int8 in every layer alone, in all together, and in all but the worst.

    One forward pass over the images for each layer, so a handful of images will do for the order of the layers.

    Args:
        graph: what is to be exported; is as it was afterwards.
        images: uint8 [1, 3, H, W] each.
        calibration: images that activations' ranges are taken from; None takes ``images``.
        advance: called after each layer.

    Raises:
        ValueError: no images.
    """
    if not images:
        raise ValueError("sensitivity needs images to measure on: give some like those that the model will see.")
    model = graph.model
    ranges = input_ranges(model, model, images if calibration is None else calibration)
    exact = [_answer(graph, image) for image in images]

    def loss_of(layers: Sequence[str]) -> Loss:
        with simulated_int8(model, ranges, layers):
            return _loss(exact, [_answer(graph, image) for image in images])

    found = []
    for name, bounds in ranges.items():
        loss = loss_of([name])
        found.append(LayerLoss(loss.sqnr, loss.agreement, name, bounds.low, bounds.high))
        advance()
    found.sort(key=lambda layer: layer.sqnr)
    names = [layer.name for layer in found]
    return SensitivityReport(
        task=model.task,
        images=len(images),
        layers=tuple(found),
        together=loss_of(names),
        kept=tuple((count, loss_of(names[count:])) for count in _KEPT if count < len(names)),
    )


@dataclass(frozen=True)
class _Answer:
    """Raw outputs, and the classes they mean; -1 where there is none."""

    raw: tuple[Tensor, ...]
    classes: Tensor


def _answer(graph: ExportGraph, image: Tensor) -> _Answer:
    raw = graph.model(image)
    decoded = graph.model.decode(raw, (image.shape[-2], image.shape[-1]))
    # Of a tuple, what is said of the image: anchors and points are the same for all.
    is_said = [isinstance(part, Tensor) and part.ndim > 2 for part in raw] if isinstance(raw, tuple) else []
    tensors = tuple(compress(raw, is_said)) if any(is_said) else (raw,)
    if isinstance(decoded, ScoredBoxes):
        best, classes = decoded.scores.max(dim=-1)
        return _Answer(tensors, classes.masked_fill(best < COUNTED_SCORE, -1))
    return _Answer(tensors, (decoded.logits if isinstance(decoded, PixelLogits) else decoded).argmax(dim=1))


def _loss(exact: Sequence[_Answer], rounded: Sequence[_Answer]) -> Loss:
    noise = [0.0] * len(exact[0].raw)
    signal = list(noise)
    agreed = counted = 0
    for ours, theirs in zip(exact, rounded, strict=True):
        for index, (one, other) in enumerate(zip(ours.raw, theirs.raw, strict=True)):
            noise[index] += float((one - other).double().square().sum())
            signal[index] += float(one.double().square().sum())
        present = (ours.classes >= 0) | (theirs.classes >= 0)
        agreed += int((ours.classes == theirs.classes)[present].sum())
        counted += int(present.sum())
    # Of boxes and of scores alike: large numbers of one must not hide the other's noise.
    share = sum(lost / max(power, 1e-30) for lost, power in zip(noise, signal, strict=True)) / len(noise)
    return Loss(math.inf if share == 0 else -10 * math.log10(share), agreed / counted if counted else None)


def _row(loss: Loss) -> tuple[str, str]:
    return f"{loss.sqnr:.1f}", "-" if loss.agreement is None else f"{loss.agreement:.1%}"


def _plain(loss: Loss) -> dict[str, Any]:
    return {name: None if value == math.inf else value for name, value in asdict(loss).items()}
