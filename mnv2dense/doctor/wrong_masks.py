"""Masks that lie wrong, regions of a wrong class and regions that are missing, by what a model saw of the others.

As in Lad and Mueller's comparison of scores for masks (2023, section 4), an image's score is a soft minimum of how much
its pixels believe their labels; regions are told apart here by which of them the doubted pixels fill.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from mnv2dense.types import IGNORE_INDEX

Mask = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

# The soft minimum's temperature: at 0.1 the least believed tenth of the pixels makes most of the score.
_TEMPERATURE = 0.1

# Probabilities below this say no more than that something is unlikely.
_FLOOR = 0.01


# Cells of a region that is trusted by half.
_HALF_TRUSTED = 20


class DoubtedRegion(NamedTuple):
    """A connected region of one image of which another class is believed.

    Attributes:
        score: 0..1, mean probability of the proposed class there, less the annotated one's; less of small regions.
        label: what is annotated.
        proposed: what is believed.
        box: xyxy, cells of the probabilities' grid.
        cells: how many cells it has.
        whole: whether it is (most of) a region as it is annotated: then its class is wrong. Else something inside, or
            at the edge, of an annotated region is missing.
    """

    score: float
    label: int
    proposed: int
    box: tuple[int, int, int, int]
    cells: int
    whole: bool


class Shift(NamedTuple):
    """How much better a mask would fit elsewhere.

    Attributes:
        score: 0..1, the share of its own surprise that the mask would be rid of there.
        down: cells that it would have to move down.
        right: cells to the right.
    """

    score: float
    down: int
    right: int


def mask_score(mask: Mask, probabilities: Floats) -> float:
    """0..1, how much the least believed pixels of an image believe their labels; low is suspicious.

    Args:
        mask: uint8 [h, w] on the grid of ``probabilities``, 255 ignored.
        probabilities: [K, h, w], out of fold.
    """
    own, counted = _own(mask, probabilities)
    if not counted.any():
        return 1.0
    weights = np.exp((own[counted].min() - own[counted]) / _TEMPERATURE)
    return float((own[counted] * weights).sum() / weights.sum())


def doubted_regions(mask: Mask, probabilities: Floats, *, at_least_cells: int = 4) -> list[DoubtedRegion]:
    """Regions of which another class is believed than is annotated, the surest first.

    Args:
        mask: uint8 [h, w] on the grid of ``probabilities``, 255 ignored.
        probabilities: [K, h, w], out of fold.
        at_least_cells: smaller regions are edges.
    """
    believed = probabilities.argmax(axis=0).astype(np.uint8)
    wrong = (believed != mask) & (mask != IGNORE_INDEX)
    found = [*_annotated_whole(mask, probabilities, at_least_cells)]
    claimed = np.zeros(mask.shape, np.bool_)
    for region, inside in found:
        claimed |= inside if region.score > 0 else False
    own, _ = _own(mask, probabilities)
    missing = []
    for proposed in np.unique(believed[wrong & ~claimed]).tolist():
        gain = probabilities[proposed] - own
        for inside, box in _connected(wrong & ~claimed & (believed == proposed), at_least_cells):
            label = int(np.bincount(mask[inside], minlength=256).argmax())
            # The inner cells count: along every edge model and annotator disagree by a cell.
            score = float(gain[inside].sum() / (inside.sum() + _edge_cells(inside))) * _trust(inside)
            missing.append(DoubtedRegion(score, label, proposed, box, int(inside.sum()), whole=False))
    regions = [region for region, _ in found if region.score > 0] + missing
    return sorted(regions, key=lambda region: -region.score)


def shift_of(mask: Mask, probabilities: Floats, *, reach: int = 6) -> Shift:
    """Where a mask would fit best, at most ``reach`` cells away; the place where it is needs no reason.

    Surprise is -log p of a cell's label. Counted are the cells that lie inside the image in all places; one that is
    ignored here or there is as surprising there as here, so that nothing is gained by covering what does not fit.
    """
    height, width = mask.shape
    reach = min(reach, (min(height, width) - 1) // 4)
    surprise = -np.log(np.maximum(probabilities.astype(np.float32), _FLOOR))
    rows, columns = np.mgrid[reach : height - reach, reach : width - reach]
    labels = mask.astype(np.int64)
    counted = mask != IGNORE_INDEX
    labels[~counted] = 0
    inner = counted[rows, columns]
    here = np.where(inner, surprise[labels[rows, columns], rows, columns], np.float32(0))
    gains = np.empty((2 * reach + 1, 2 * reach + 1))
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            moved = rows - down, columns - right
            there = surprise[labels[moved], rows, columns]
            gains[down + reach, right + reach] = (here - there)[inner & counted[moved]].sum()
    if gains.max() <= 0:
        return Shift(0.0, 0, 0)
    down, right = (int(place) - reach for place in np.unravel_index(gains.argmax(), gains.shape))
    return Shift(float(gains.max() / here.sum()), down, right)


def _annotated_whole(
    mask: Mask, probabilities: Floats, at_least_cells: int
) -> Iterator[tuple[DoubtedRegion, npt.NDArray[np.bool_]]]:
    """Each region as it is annotated, with the class that its cells believe most."""
    for label in np.unique(mask[mask != IGNORE_INDEX]).tolist():
        for inside, box in _connected(mask == label, at_least_cells):
            means = probabilities[:, inside].astype(np.float32).mean(axis=1)
            own = float(means[label])
            means[label] = -1
            proposed = int(means.argmax())
            score = (float(means[proposed]) - own) * _trust(inside)
            yield DoubtedRegion(score, label, proposed, box, int(inside.sum()), whole=True), inside


def _connected(
    wanted: npt.NDArray[np.bool_], at_least_cells: int
) -> Iterator[tuple[npt.NDArray[np.bool_], tuple[int, int, int, int]]]:
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(wanted.astype(np.uint8), connectivity=4)
    for number in range(1, count):
        left, top, width, height, cells = (int(value) for value in stats[number])
        if cells >= at_least_cells:
            yield numbers == number, (left, top, left + width, top + height)


def _trust(inside: npt.NDArray[np.bool_]) -> float:
    """0..1, by size: of small regions a model with cells of 8 pixels is often wrong itself."""
    cells = float(inside.sum())
    return cells / (cells + _HALF_TRUSTED)


def _edge_cells(inside: npt.NDArray[np.bool_]) -> int:
    inner = cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1)
    return int(inside.sum() - inner.sum())


def _own(mask: Mask, probabilities: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The probability of each cell's label (1 where it is ignored), and which cells count."""
    counted = mask != IGNORE_INDEX
    safe = np.where(counted, mask, 0).astype(np.int64)
    own = np.take_along_axis(probabilities, safe[None], axis=0)[0].astype(np.float32)
    return np.where(counted, own, np.float32(1)), counted
