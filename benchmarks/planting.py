"""Faults planted into labels of boxes and masks, and how many of them are found again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from mnv2dense.doctor.box_views import BoxViews, ViewFeatures
from mnv2dense.doctor.frozen import true_boxes
from mnv2dense.doctor.wrong_boxes import missing_boxes
from mnv2dense.doctor.wrong_masks import doubted_regions, shift_of
from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.ops.numpy_boxes import pairwise_iou
from mnv2dense.types import IGNORE_INDEX, Sample

SHARE = 0.05
CAMVID = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign symbol",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)


def planted_boxes(
    truth: TrueBoxes, rng: np.random.Generator, *, share: float = SHARE
) -> tuple[TrueBoxes, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Boxes with faults; the rows of ``truth`` that are left out; of each box 1 if it is moved, 2 if drawn again."""
    objects = np.flatnonzero(~truth.crowds)
    k = round(share * len(objects))
    moved, gone, twice = np.split(rng.permutation(objects)[: 3 * k], 3)
    corners = truth.corners
    sides = corners[:, 2:] - corners[:, :2]
    angles, far = rng.uniform(0, 2 * np.pi, k), rng.uniform(0.3, 0.5, k)
    corners[moved] += np.tile(np.column_stack([np.cos(angles), np.sin(angles)]) * far[:, None] * sides[moved], 2)
    again = truth.corners[twice] + rng.uniform(-0.06, 0.06, (k, 4)) * np.tile(sides[twice], 2)
    kept = np.setdiff1d(np.arange(len(corners)), gone)
    marks = np.concatenate([np.isin(kept, moved) * 1, np.full(k, 2)])
    images = np.concatenate([truth.images[kept], truth.images[twice]])
    labels = np.concatenate([truth.labels[kept], truth.labels[twice]])
    planted = true_boxes(len(truth.image_ids), images, np.concatenate([corners[kept], again]).clip(0), labels)
    return planted, gone, marks[np.argsort(images, kind="stable")]


def among_surest(scores: npt.NDArray[np.float64], planted: npt.NDArray[np.bool_]) -> int:
    """Of the highest scores, as many as faults are planted, those of such."""
    surest = np.argsort(-scores, kind="stable")[: int(planted.sum())]
    return int(planted[surest].sum())


def views_of(samples: Iterable[Sample], planted: TrueBoxes, look: ViewFeatures) -> BoxViews:
    """Of all objects, where their boxes lie now."""
    views = []
    for place, sample in enumerate(samples):
        own = slice(planted.starts[place], planted.starts[place + 1])
        views.append(look(sample.image, planted.corners[own][~planted.crowds[own]]))
    return BoxViews.joined(views)


def gone_among(found: FoundBoxes, planted: TrueBoxes, truth: TrueBoxes, gone: npt.NDArray[np.int64]) -> int:
    """Of the boxes that were left out, those that as many surest missing boxes find."""
    rows = missing_boxes(found, planted).rows[: len(gone)]
    same = pairwise_iou(found.boxes[rows], truth.corners[gone]) * (found.images[rows][:, None] == truth.images[gone])
    return int((same >= 0.5).any(axis=0).sum())


Fault = tuple[int, tuple[int, int, int, int]]


def planted_masks(
    clean: Sequence[npt.NDArray[np.uint8]], rng: np.random.Generator, *, share: float = SHARE
) -> tuple[list[npt.NDArray[np.uint8]], npt.NDArray[np.int64], list[Fault], list[Fault]]:
    """Masks with faults; which are moved; where regions have another class; where regions are gone."""
    given = [mask.copy() for mask in clean]
    moved = rng.permutation(len(given))[: round(share * len(given))]
    for place in moved.tolist():
        down, right = rng.integers(16, 41, 2) * rng.choice([-1, 1], 2)
        matrix = np.array([[1, 0, right], [0, 1, down]], np.float64)
        size = given[place].shape[::-1]
        given[place] = cv2.warpAffine(
            given[place], matrix, size, flags=cv2.INTER_NEAREST, borderValue=(float(IGNORE_INDEX),)
        )
    regions = []
    for place in np.setdiff1d(np.arange(len(given)), moved).tolist():
        for label in np.unique(clean[place][clean[place] != IGNORE_INDEX]).tolist():
            count, _, stats, _ = cv2.connectedComponentsWithStats(
                (clean[place] == label).astype(np.uint8), connectivity=4
            )
            regions += [(place, label, n, *stats[n].tolist()) for n in range(1, count) if stats[n][4] >= 600]
    order = rng.permutation(len(regions))
    k = round(share * len(regions))
    small = [i for i in order[k:] if regions[i][-1] < 0.05 * clean[0].size][:k]
    faults: dict[bool, list[Fault]] = {True: [], False: []}
    for index, whole in [(i, True) for i in order[:k]] + [(i, False) for i in small]:
        place, label, number, left, top, width, height, _ = regions[index]
        inside = cv2.connectedComponents((clean[place] == label).astype(np.uint8), connectivity=4)[1] == number
        ring = (cv2.dilate(inside.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0) & ~inside
        around = clean[place][ring & (clean[place] != IGNORE_INDEX)]
        others = np.setdiff1d(np.arange(len(CAMVID)), [label])
        if not whole and not len(around):
            continue
        given[place][inside] = rng.choice(others) if whole else np.bincount(around).argmax()
        faults[whole].append((place, (left, top, left + width, top + height)))
    return given, moved, faults[True], faults[False]


def masks_among(
    masks: npt.NDArray[np.uint8],
    said: npt.NDArray[np.float32],
    moved: npt.NDArray[np.int64],
    wrong: Sequence[Fault],
    gone: Sequence[Fault],
    size: tuple[int, ...],
) -> dict[str, tuple[int, int]]:
    """Kind of fault -> how many are planted, and how many of these as many surest suspects find.

    Args:
        masks: uint8 [P, h, w], as they are given, in cells.
        said: probabilities [P, K, h, w] of models that have not learnt from them.
        moved: images whose masks are moved.
        wrong: regions of another class.
        gone: regions given to what surrounds them.
        size: (height, width) of the masks that faults are planted in, pixels.
    """
    shifts = np.array([shift_of(mask, one).score for mask, one in zip(masks, said, strict=True)])
    regions = [
        (place, region)
        for place, (mask, one) in enumerate(zip(masks, said, strict=True))
        if place not in moved
        for region in doubted_regions(mask, one)
    ]
    regions.sort(key=lambda each: -each[1].score)
    cell = np.array(size[::-1] * 2) / (masks.shape[:0:-1] * 2)
    found = {"shifted mask": (len(moved), among_surest(shifts, np.isin(np.arange(len(masks)), moved)))}
    for kind, faults, whole in (("wrong region", wrong, True), ("missing region", gone, False)):
        chosen = [each for each in regions if each[1].whole == whole][: len(faults)]
        places, boxes = np.array([place for place, _ in chosen]), np.array([r.box for _, r in chosen]) * cell
        same = pairwise_iou(boxes, np.array([box for _, box in faults], np.float64))
        same *= places[:, None] == np.array([place for place, _ in faults])
        found[kind] = len(faults), int((same >= 0.3).any(axis=0).sum())
    return found
