"""What a graph answers, and what of it is lost when its arithmetic is another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import compress
from typing import Any

import torch
from torch import Tensor

from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.tasks import COUNTED_SCORE
from mnv2dense.models.raw_tensors import raw_tensors
from mnv2dense.types import PixelLogits, ScoredBoxes


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

    def plain(self) -> dict[str, Any]:
        """As json takes it; infinite numbers are None."""
        return {name: None if value == math.inf else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Answer:
    """To an image.

    Attributes:
        raw: outputs of the network, before they are decoded.
        classes: they mean; -1 where there is none.
    """

    raw: tuple[Tensor, ...]
    classes: Tensor


def answer_of(graph: ExportGraph, image: Tensor) -> Answer:
    """What a graph says of an image, uint8 [1, 3, H, W]."""
    raw = graph.model(image)
    decoded = graph.model.decode(raw, (image.shape[-2], image.shape[-1]))
    tensors = _said(raw) or _said(decoded)
    if isinstance(decoded, ScoredBoxes):
        best, classes = decoded.scores.max(dim=-1)
        return Answer(tensors, classes.masked_fill(best < COUNTED_SCORE, -1))
    return Answer(tensors, (decoded.logits if isinstance(decoded, PixelLogits) else decoded).argmax(dim=1))


def _said(predictions: object) -> tuple[Tensor, ...]:
    """What is said of the image, the only one of its batch; of anchors and points there are more."""
    return tuple(each for each in raw_tensors(predictions) if each.is_floating_point() and each.shape[:1] == (1,))


def loss_between(exact: Sequence[Answer], rounded: Sequence[Answer]) -> Loss:
    """How far answers to the same images are apart."""
    # What is the same for all images is said of none, such as anchors [1, A, 4]: it would count as free of noise.
    first, *others = (each.raw for each in exact)
    varies = [any(not torch.equal(one, raw[index]) for raw in others) for index, one in enumerate(first)]
    counts = varies if any(varies) else [True] * len(first)
    noise = [0.0] * sum(counts)
    signal = list(noise)
    agreed = counted = 0
    for ours, theirs in zip(exact, rounded, strict=True):
        pairs = compress(zip(ours.raw, theirs.raw, strict=True), counts)
        for index, (one, other) in enumerate(pairs):
            noise[index] += float((one - other).double().square().sum())
            signal[index] += float(one.double().square().sum())
        present = (ours.classes >= 0) | (theirs.classes >= 0)
        agreed += int((ours.classes == theirs.classes)[present].sum())
        counted += int(present.sum())
    # Of boxes and of scores alike: large numbers of one must not hide the other's noise.
    share = sum(lost / max(power, 1e-30) for lost, power in zip(noise, signal, strict=True)) / len(noise)
    return Loss(math.inf if share == 0 else -10 * math.log10(share), agreed / counted if counted else None)
