"""What networks like these are known to have reached, and by whom; and the order of networks that follows from it.

Nothing here is a forecast of accuracy. Where somebody trained the same backbone at the same size, the figure is told
with its source; where nobody did, that is told. To put networks in order all have to be compared, known or not, and
for that a law is fitted to the published figures: :func:`rank`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple

import numpy as np

from mnv2dense.budget.networks import Network

TOP1: Final[Mapping[float, Mapping[int, float]]] = {
    1.4: {224: 75.0},
    1.3: {224: 74.4},
    1.0: {224: 71.8, 192: 70.7, 160: 68.8, 128: 65.3, 96: 60.3},
    0.75: {224: 69.8, 192: 68.7, 160: 66.4, 128: 63.2, 96: 58.8},
    0.5: {224: 65.4, 192: 63.9, 160: 61.0, 128: 57.7, 96: 51.2},
    0.35: {224: 60.3, 192: 58.2, 160: 55.7, 128: 50.8, 96: 45.5},
}
"""ImageNet top-1 in percent, by width and size, as the authors publish it with their weights (TensorFlow's
research/slim/nets/mobilenet/README.md)."""

TOP1_SOURCE: Final = "the authors' table, tensorflow/models, slim/nets/mobilenet"

NOT_KNOWN: Final = "not known"


class Figure(NamedTuple):
    """A published figure of a whole network.

    Attributes:
        head: a key of :data:`mnv2dense.budget.networks.HEADS`.
        width: of its backbone.
        size: of its input.
        said: figure, metric and data, in words.
        source: who says so.
    """

    head: str
    width: float
    size: int
    said: str
    source: str


FIGURES: Final = (
    Figure("ssdlite", 1.0, 320, "AP 22.1 on COCO test-dev", "MobileNetV2 paper, table 6"),
    Figure("deeplab_v3", 1.0, 513, "mIoU 75.3 on VOC 2012 val, after COCO", "MobileNetV2 paper, table 7"),
    Figure("deeplab_v3", 0.5, 513, "mIoU 71.8 on VOC 2012 val, after COCO", "TensorFlow's DeepLab model zoo"),
    Figure("ssdlite", 1.0, 320, "AP 0.078 on 800 images of VOC 2007, 8 epochs", "docs/benchmarks.md"),
    Figure("points", 1.0, 320, "AP 0.158 on 800 images of VOC 2007, 8 epochs", "docs/benchmarks.md"),
)
"""Of heads and widths here. At 513 pixels, DeepLab's own size; 512 has a pixel less."""

PAPER_SIZE: Final = {"detection": 320, "segmentation": 513, "classification": 224}
"""At which the paper has each task; the sizes of :data:`TOP1` are those of the last."""

PREFERRED: Final = "points"
PREFERRED_BY: Final = 0.158 / 0.078
"""AP of the head without anchors by SSDLite's, at equal costs and under equal conditions (docs/benchmarks.md); nothing
else is known of the two."""

INT8_LOSS: Final = 0.5
"""Points that a file of int8 is put behind its network of fp32; measured losses of AP and mIoU are within 0.5
(docs/benchmarks.md)."""

# How much the logarithm of AP grows for each point, by TensorFlow's detection zoo: 0.05 for FPNLite from 320 to 640
# pixels (22.2 to 28.2), 0.062 for SSD on MobileNetV1 from width 0.75 to 1.0 (18 to 21, at a top-1 of 68.4 and 70.9).
_LOG_AP_OF_A_POINT = 0.055


def known(network: Network) -> str:
    """Of this network: what is published for it, or for its backbone at the size that it has; or that nothing is."""
    found = [
        f"{figure.said} ({figure.source})"
        for figure in FIGURES
        if figure.head == network.head and figure.width == network.width and abs(figure.size - network.size) <= 1
    ]
    if network.task == "classification" and network.size in TOP1.get(network.width, {}):
        found.insert(0, f"top-1 {TOP1[network.width][network.size]:.1f} on ImageNet ({TOP1_SOURCE})")
    return "; ".join(found) or NOT_KNOWN


def nearest_known(network: Network) -> str | None:
    """The published figure of the network most like it, by width and size; None where there is none of its head."""
    if network.task == "classification":
        figures = [
            Figure("classifier", width, size, f"top-1 {top1:.1f} on ImageNet", TOP1_SOURCE)
            for width, row in TOP1.items()
            for size, top1 in row.items()
        ]
    else:
        figures = [figure for figure in FIGURES if figure.head == network.head]
    if not figures:
        return None

    def distance(figure: Figure) -> float:
        return abs(math.log(figure.width / network.width)) + abs(math.log(figure.size / network.size))

    near = min(figures, key=distance)
    return f"{near.head} {near.width:g} at {near.size}: {near.said} ({near.source})"


def known_of_backbone(network: Network) -> str:
    """ImageNet's top-1 of a backbone of this width, at its largest published size."""
    if network.width not in TOP1:
        return NOT_KNOWN
    size, top1 = max(TOP1[network.width].items())
    return f"{top1:.1f} at {size}"


def rank(network: Network) -> float:
    """In points of ImageNet's top-1: the larger the better, for networks of one task; not what it will reach.

    The size is taken as a share of the paper's size for the task. The law, error as a power of width and size, is
    within 1.2 points of all published figures; beyond the largest published size it goes on.
    """
    size = network.size * PAPER_SIZE["classification"] / PAPER_SIZE[network.task]
    points = 100 - math.exp(float(_terms(network.width, size) @ _law()))
    if network.head == PREFERRED:
        points += math.log(PREFERRED_BY) / _LOG_AP_OF_A_POINT
    return points - (INT8_LOSS if network.precision == "int8" else 0)


def why_before(head: str, other: str) -> str:
    """What is known of two heads of a task, the first of which :func:`rank` puts first."""
    if head == PREFERRED:
        return "by the one comparison there is, three runs of 8 epochs on 800 images of VOC 2007 (docs/benchmarks.md)"
    if other == PREFERRED:
        return "as it fits so much larger"
    return "of which nothing is known beside it, as the quicker of the two"


def _terms(width: float, size: float) -> np.ndarray:
    w, s = math.log(width), math.log(size / 224)
    return np.array([1.0, w, s, w * s, w * w, s * s])


@cache
def _law() -> np.ndarray:
    """log(100 - top1) by width and size."""
    figures = [(width, size, top1) for width, row in TOP1.items() for size, top1 in row.items()]
    rows = np.array([_terms(width, size) for width, size, _ in figures])
    errors = np.log([100 - top1 for _, _, top1 in figures])
    found: np.ndarray = np.linalg.lstsq(rows, errors, rcond=None)[0]
    return found
