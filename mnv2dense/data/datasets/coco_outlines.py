"""Outlines of COCO annotations as columns: checked once, mapped from then on, and drawn when an image is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.coco_rle import decoded_runs, runs_of_valid
from mnv2dense.data.datasets.columns import ends_of

# The corners of a polygon, in numbers: below the first it encloses nothing, above the second it is not looked at for
# repeated corners, as it was drawn by hand or by a program.
_FEWEST, _FEW = 6, 10


class Outlines(NamedTuple):
    """The checked ``segmentation`` fields of T annotations: Q polygons, and run-length masks.

    Attributes:
        corners: float64 [N], x, y, x, y, ... of all polygons one after another, pixels.
        corner_ends: int64 [Q + 1], where each polygon begins in ``corners``; the last is the end.
        polygon_ends: int64 [T + 1], where each annotation's polygons begin among the Q.
        runs: uint32 [M], run lengths of all run-length masks one after another.
        run_ends: int64 [T + 1], where each annotation's begin in ``runs``; those of polygons have none.
        run_sizes: int32 [T, 2], (height, width) of the run-length masks; 0 where there is none.
    """

    corners: npt.NDArray[np.float64]
    corner_ends: npt.NDArray[np.int64]
    polygon_ends: npt.NDArray[np.int64]
    runs: npt.NDArray[np.uint32]
    run_ends: npt.NDArray[np.int64]
    run_sizes: npt.NDArray[np.int32]

    @classmethod
    def of(
        cls,
        corners: npt.NDArray[np.float64],
        corner_counts: npt.NDArray[np.int64],
        polygon_counts: npt.NDArray[np.int64],
        masks: Iterable[tuple[int, Any]],
    ) -> Outlines:
        """Of numbers and counts.

        Args:
            corners: of all polygons, [N].
            corner_counts: how many numbers each polygon has, [Q].
            polygon_counts: how many polygons each annotation has, [T].
            masks: place of an annotation, ascending, and its checked run-length mask.
        """
        run_counts = np.zeros(len(polygon_counts), np.int64)
        run_sizes = np.zeros((len(polygon_counts), 2), np.int32)
        runs = []
        for place, mask in masks:
            counts = mask["counts"]
            own = (decoded_runs(counts) or []) if isinstance(counts, str) else counts
            runs.append(np.array(own, np.uint32))
            run_counts[place], run_sizes[place] = len(own), mask["size"]
        together = np.concatenate(runs) if runs else np.zeros(0, np.uint32)
        return cls(corners, ends_of(corner_counts), ends_of(polygon_counts), together, ends_of(run_counts), run_sizes)

    @classmethod
    def of_rows(cls, rows: Sequence[dict[str, Any]]) -> Outlines:
        """Of annotations as json has them, checked."""
        fields = [row.get("segmentation") for row in rows]
        lists = [field if isinstance(field, list) else [] for field in fields]
        polygons = [polygon for own in lists for polygon in own]
        return cls.of(
            np.array([number for polygon in polygons for number in polygon], np.float64),
            np.array([len(polygon) for polygon in polygons], np.int64),
            np.array([len(own) for own in lists], np.int64),
            ((place, field) for place, field in enumerate(fields) if isinstance(field, dict)),
        )

    @classmethod
    def joined(cls, parts: Sequence[Outlines]) -> Outlines:
        """Those of several lists of annotations, one after another."""
        return cls(
            np.concatenate([np.zeros(0), *(part.corners for part in parts)]),
            _after_another([part.corner_ends for part in parts]),
            _after_another([part.polygon_ends for part in parts]),
            np.concatenate([np.zeros(0, np.uint32), *(part.runs for part in parts)]),
            _after_another([part.run_ends for part in parts]),
            np.concatenate([np.zeros((0, 2), np.int32), *(part.run_sizes for part in parts)]),
        )

    def enclose_something(self) -> npt.NDArray[np.bool_]:
        """Whether an annotation has a polygon of three different corners or more, or a run: bool [T]."""
        lengths = np.diff(self.corner_ends)
        encloses = lengths > _FEW
        for length in range(_FEWEST, _FEW + 1, 2):
            of_length = np.flatnonzero(lengths == length)
            corners = self.corners[self.corner_ends[of_length, None] + np.arange(length)].reshape(-1, length // 2, 2)
            same = (corners[:, :, None] == corners[:, None, :]).all(axis=3)
            firsts = ~np.tril(same, -1).any(axis=2)  # corners that none before them is equal to
            encloses[of_length] = firsts.sum(axis=1) >= 3
        enclosing = np.concatenate([[0], np.cumsum(encloses)])[self.polygon_ends]
        place_of_run = np.arange(len(self.runs)) - np.repeat(self.run_ends[:-1], np.diff(self.run_ends))
        covered = np.concatenate([[0], np.cumsum((place_of_run % 2 == 1) & (self.runs > 0))])[self.run_ends]
        return np.asarray((np.diff(enclosing) > 0) | (np.diff(covered) > 0))

    def drawn(self, place: int, size: tuple[int, int]) -> npt.NDArray[np.int64]:
        """The runs of one annotation in an image of (height, width); they go down the columns, the first is of none."""
        first, end = self.polygon_ends[place : place + 2].tolist()
        if first == end:
            start, stop = self.run_ends[place : place + 2]
            return self.runs[start:stop].astype(np.int64)
        ends = self.corner_ends[first : end + 1].tolist()
        # Fewer than three corners enclose nothing.
        polygons = [self.corners[a:b] for a, b in pairwise(ends) if b - a >= _FEWEST]
        return _runs_of_polygons(polygons, size)


def _runs_of_polygons(polygons: Sequence[npt.NDArray[np.float64]], size: tuple[int, int]) -> npt.NDArray[np.int64]:
    from pycocotools import mask

    if not polygons:
        return np.zeros(0, np.int64)
    # Not its decode(): that warns of numpy 2, and makes a whole image of every object.
    return runs_of_valid(mask.merge(mask.frPyObjects(polygons, *size))["counts"])


def _after_another(ends: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    return ends_of(np.concatenate([np.zeros(0, np.int64), *(np.diff(part) for part in ends)]))
