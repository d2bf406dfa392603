"""COCO's average precision with a weight for each image, of hundreds of sets of weights at once."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Final, final

import numpy as np
import numpy.typing as npt

from mnv2dense.metrics.box_matches import AREAS, THRESHOLDS, BoxMatches

Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.integer]

_RECALLS: Final = np.linspace(0.0, 1.0, 101)

_CELLS = 4_000_000
"""Boxes times sets of weights that are added up at once: some 100 MB."""


@final
class WeightedAP:
    """The APs of boxes once they are matched; an image of weight 2 counts as if it were there twice.

    Weights of 1 give what pycocotools gives. The work is one running sum over all boxes for each set of weights and
    size; what hangs on the thresholds is added up over the boxes that found something alone. Of equal scores in an
    image of weight 2 the boxes stand side by side with their doubles.

    Args:
        matches: of all boxes.
        image_ids: of the P images, in the order of their places.
        class_names: K names.
    """

    def __init__(self, matches: BoxMatches, *, image_ids: Sequence[int], class_names: Sequence[str]) -> None:
        self.image_ids = tuple(image_ids)
        self._matches = matches
        self._names = tuple(class_names)
        ends = np.searchsorted(matches.labels, np.arange(len(self._names) + 1)).tolist()
        self._rows = [slice(start, end) for start, end in itertools.pairwise(ends)]

    def images_of_classes(self) -> dict[str, int]:
        """Score of a class -> how many images show an object of it."""
        matches = self._matches
        real = matches.object_counts[0]
        pairs = np.unique(np.stack([matches.object_labels[real], matches.object_images[real]]), axis=1)
        counts = np.bincount(pairs[0], minlength=len(self._names))
        return {f"AP/{name}": int(count) for name, count in zip(self._names, counts, strict=True)}

    def scores(self, weights: Weights) -> dict[str, Floats]:
        """Of each set of weights; NaN where it leaves nothing to judge by.

        Args:
            weights: whole numbers [R, P], 0 or more.

        Returns:
            AP, AP50, AP75, APs, APm, APl and ``AP/<class name>`` of every class that has an object, [R] each.
        """
        table = np.concatenate([self._table(part) for part in self._portions(weights)], axis=-1)
        averages: Mapping[str, Floats] = {
            "AP": table[0].mean(axis=0),
            "AP50": table[0, 0],
            "AP75": table[0, 5],
            "APs": table[1].mean(axis=0),
            "APm": table[2].mean(axis=0),
            "APl": table[3].mean(axis=0),
        }
        scores = {name: _mean(values) for name, values in averages.items()}
        there = np.unique(self._matches.object_labels[self._matches.object_counts[0]])
        return scores | {f"AP/{self._names[k]}": averages["AP"][k] for k in there.tolist()}

    def _portions(self, weights: Weights) -> list[Weights]:
        largest = max((rows.stop - rows.start for rows in self._rows), default=0)
        step = max(1, _CELLS // max(1, largest))
        return [weights[start : start + step] for start in range(0, len(weights), step)]

    def _table(self, weights: Weights) -> Floats:
        """[A, T, K, R], NaN where there is nothing to find."""
        matches, by_image = self._matches, np.ascontiguousarray(weights.T, np.int32)
        table = np.full((len(AREAS), len(THRESHOLDS), len(self._rows), len(weights)), np.nan)
        for k, rows in enumerate(self._rows):
            of_class = matches.object_labels == k
            if not of_class.any():
                continue
            boxes = by_image[matches.images[rows]]
            objects = by_image[matches.object_images[of_class]]
            for area in range(len(AREAS)):
                counts = matches.object_counts[area, of_class]
                to_find = objects[counts].sum(axis=0)
                if not to_find.any():
                    continue
                inside = matches.inside[area, rows]
                shown = (boxes * inside[:, None]).cumsum(axis=0, dtype=np.int32)
                for threshold in range(len(THRESHOLDS)):
                    right = matches.right[area, threshold, rows]
                    counted = matches.counted[area, threshold, rows]
                    table[area, threshold, k] = _average_precision(boxes, shown, inside, right, counted, to_find)
        return table


def _average_precision(
    boxes: npt.NDArray[np.int32],
    shown: npt.NDArray[np.int32],
    inside: npt.NDArray[np.bool_],
    right: npt.NDArray[np.bool_],
    counted: npt.NDArray[np.bool_],
    to_find: Weights,
) -> Floats:
    """Of one class, size and threshold, [R].

    Args:
        boxes: weights [n, R], from the surest box on.
        shown: the same of boxes of the size, added up.
        inside: [n], whether the box is of the size.
        right: [n], whether it is right.
        counted: [n], whether it is right or wrong.
        to_find: weights of the objects [R].
    """
    # Between these places recall stands still and precision falls, so that none of COCO's 101 recalls looks there.
    places = np.flatnonzero(right | (counted != inside))
    here = boxes[places]
    found = (here * right[places, None]).cumsum(axis=0, dtype=np.int32)
    correction = counted[places].astype(np.int32) - inside[places]
    seen = shown[places] + (here * correction[:, None]).cumsum(axis=0, dtype=np.int32)
    # The spacing is pycocotools' own.
    precision = found / (seen + np.spacing(1))
    best_from_here = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    reached = _recalls_reached(found / np.maximum(to_find, 1))
    average = (best_from_here * np.diff(reached, axis=0, prepend=0)).sum(axis=0) / len(_RECALLS)
    return np.asarray(np.where(to_find > 0, average, np.nan))


def _recalls_reached(recall: Floats) -> npt.NDArray[np.int64]:
    """How many of the 101 recalls are no higher, compared as pycocotools does."""
    below = (recall * (len(_RECALLS) - 1)).astype(np.int64)
    following = _RECALLS[np.minimum(below + 1, len(_RECALLS) - 1)] <= recall
    return below + (_RECALLS[below] <= recall) + (following & (below + 1 < len(_RECALLS)))


def _mean(values: Floats) -> Floats:
    """Over the classes [K, R] that a set of weights leaves something of; NaN where none."""
    told = ~np.isnan(values)
    counts = told.sum(axis=0)
    total = np.where(told, values, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, counts, out=np.full(values.shape[1], np.nan), where=counts > 0))
