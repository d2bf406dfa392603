"""Small random sets of objects and boxes in which all happens that evaluators of COCO's protocol could differ in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.types import BoxColumns

_AREAS = (32.0**2, 96.0**2)


class RandomSet(NamedTuple):
    """Objects and what was found.

    Attributes:
        truth: of the data set; classes that no object has are among its labels' range.
        classes: how many there are.
        found: image id -> float32 [N, 6]: x1, y1, x2, y2, score, label. Not of every image.
    """

    truth: BoxColumns
    classes: int
    found: dict[int, npt.NDArray[np.float32]]


def random_set(seed: int) -> RandomSet:
    """Images without objects and without boxes, ids in no order; crowds; objects and boxes that lie upon each other.

    Half of the sets lie on whole pixels, where overlaps tie and meet the thresholds; scores have few values; areas are
    on COCO's borders, beside them, and 0. Every tenth set has more than a hundred boxes in an image, every 15th none
    at all, and in every 20th nothing is to be found.
    """
    random = np.random.default_rng(seed)
    images, classes = int(random.integers(1, 6)), int(random.integers(1, 5))
    image_ids = random.choice(1000, images, replace=False) * 10_000_019
    count = 0 if seed % 20 == 0 else int(random.integers(1, 9))
    places = random.integers(0, images, count)
    boxes = _boxes(random, count, whole=seed % 2 == 0)
    if count > 2:  # the same object twice, and once more as another class
        boxes[1:3], places[1:3] = boxes[0], places[0]
    labels = random.integers(0, max(classes - 1, 1), count)
    areas = boxes[:, 2:].prod(axis=1) * random.choice([1.0, 1.0, 0.7], count)
    border = random.random(count) < 0.4
    beside = random.choice([0.0, 0.0, 1e-9, -1e-9], count)
    areas[border] = (random.choice(_AREAS, count) + beside)[border]
    truth = BoxColumns(image_ids, places, boxes, labels, random.random(count) < 0.2, areas)
    found = {int(image_id): _found(random, truth, place, classes, seed) for place, image_id in enumerate(image_ids)}
    left_out = {image_id for image_id in found if random.random() < 0.1}
    return RandomSet(truth, classes, {image_id: rows for image_id, rows in found.items() if image_id not in left_out})


def _boxes(random: np.random.Generator, count: int, *, whole: bool) -> npt.NDArray[np.float64]:
    """Xywh, some exactly as large as the borders; one in twenty has no width."""
    sizes = random.choice([4.0, 8.0, 16.0, 32.0, 96.0, 100.0], (count, 2))
    square = random.random(count) < 0.3
    sizes[square] = random.choice([32.0, 96.0], count)[square, None]
    corners = random.integers(0, 4, (count, 2)) * 4.0
    if not whole:
        corners += random.uniform(0, 3, (count, 2))
        sizes *= random.uniform(0.8, 1.2, (count, 2))
    sizes[random.random(count) < 0.05, 0] = 0.0
    return np.concatenate([corners, sizes], axis=1)


def _found(
    random: np.random.Generator, truth: BoxColumns, place: int, classes: int, seed: int
) -> npt.NDArray[np.float32]:
    """Boxes near the objects, upon each other and elsewhere."""
    whole = seed % 2 == 0
    rows = np.flatnonzero(truth.images == place)
    repeats = random.integers(0, 4, len(rows)) * (40 if seed % 10 == 5 else 1)
    near = truth.boxes[rows].repeat(repeats, axis=0)
    step = random.integers(-1, 2, near.shape) * 2.0 if whole else random.normal(0, 2, near.shape)
    near = near + step * (random.random(near.shape) < 0.6)
    boxes = np.concatenate([near, near[:2], _boxes(random, int(random.integers(0, 6)), whole=whole)])
    labels = np.concatenate([truth.labels[rows].repeat(repeats), random.integers(0, classes, len(boxes) - len(near))])
    wrong = random.random(len(boxes)) < 0.1
    labels[wrong] = random.integers(0, classes, wrong.sum())
    scores = random.integers(1, 7, len(boxes)) / 6
    table = np.column_stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:], scores, labels]).astype(np.float32)
    return table[: 0 if seed % 15 == 0 else None]
