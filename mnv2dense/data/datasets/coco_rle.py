"""COCO's ``segmentation`` fields, checked before any mask code sees them: a bad one can hang or crash it."""

from __future__ import annotations

import array
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.label_values import LARGEST_COORDINATE, is_within
from mnv2dense.utils.numbers import is_whole


def check_polygons(file: Path, annotations: list[dict[str, Any]]) -> None:
    """Refuse polygons that are not pairs of finite numbers, or that lie farther out than any image reaches.

    Raises:
        ValueError: naming the file, the annotation and the polygon.
    """
    outlined = [row for row in annotations if isinstance(row.get("segmentation"), list)]
    polygons = [polygon for row in outlined for polygon in row["segmentation"]]
    try:  # all 40 million numbers of COCO at once; one by one only to name the culprit
        # Unlike numpy's conversions, that of an array takes no text for a number.
        numbers = np.frombuffer(array.array("d", itertools.chain.from_iterable(polygons)) or b"", np.float64)
        if (np.abs(numbers) <= LARGEST_COORDINATE).all() and all(map(_is_pairs, polygons)):
            return
    except (TypeError, ValueError, OverflowError):
        pass
    for row in outlined:
        for polygon in row["segmentation"]:
            if not _is_pairs(polygon) or not all(is_within(number, LARGEST_COORDINATE) for number in polygon):
                raise ValueError(
                    f"{file}: annotation {row['id']} has the polygon {polygon!r:.200}; a list x, y, x, y ... "
                    f"within +-{LARGEST_COORDINATE:g} expected. Correct or remove it."
                )


def has_outline(segmentation: Any) -> bool:  # noqa: ANN401
    """Whether a checked segmentation encloses anything: a polygon of three different corners or more, or a run."""
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        runs = (decoded_runs(counts) or []) if isinstance(counts, str) else counts
        return any(runs[1::2])
    if not isinstance(segmentation, list):
        return False
    # Repeated corners are looked for in short polygons alone: long ones are drawn by hand or by a program.
    return any(
        len(polygon) >= 6 and (len(polygon) > 10 or len(set(zip(polygon[::2], polygon[1::2], strict=True))) >= 3)
        for polygon in segmentation
    )


def _is_pairs(polygon: Any) -> bool:  # noqa: ANN401
    return isinstance(polygon, list) and len(polygon) % 2 == 0


def check_rle(file: Path, row: dict[str, Any], image_size: tuple[int, int] | None) -> None:
    """Refuse a run-length mask whose runs do not fill the image, (height, width), exactly.

    Raises:
        ValueError: naming the file, the annotation and the fault.
    """
    rle = row["segmentation"]
    size: Any = rle.get("size")
    counts: Any = rle.get("counts")
    problem = None
    if not isinstance(size, list) or len(size) != 2 or not all(is_whole(side) and side > 0 for side in size):
        problem = f"size {size!r:.80} is not [height, width]"
    elif image_size not in (None, tuple(size)):
        problem = f"its size {size} is not the image's {list(image_size)} (height, width)"
    elif isinstance(counts, str):
        runs = decoded_runs(counts)
        if runs is None or min(runs, default=0) < 0 or sum(runs) != math.prod(size):
            problem = f"its compressed runs do not fill {size[0]}x{size[1]} pixels"
    elif not isinstance(counts, list) or not all(is_whole(run) and run >= 0 for run in counts):
        problem = "its counts are neither a string nor a list of run lengths"
    elif sum(counts) != math.prod(size):
        problem = f"its runs add up to {sum(counts)}, not to {size[0]}x{size[1]} = {math.prod(size)} pixels"
    if problem:
        raise malformed_rle(file, row["id"], problem)


def malformed_rle(file: Path, annotation: int, problem: str) -> ValueError:
    """The error of a run-length mask that cannot be used."""
    return ValueError(f"{file}: annotation {annotation} has a malformed RLE: {problem}. Correct or remove it.")


def decoded_runs(counts: str) -> list[int] | None:
    """Run lengths of COCO's compressed RLE; None where a number is cut off or has a foreign letter.

    Numbers are written in groups of five bits, low ones first, offset 48; bit 5 says that another group
    follows, bit 4 of the last group is the sign. From the fourth on, a number is the difference to the run
    two before it.
    """
    runs: list[int] = []
    value = shift = 0
    for letter in counts:
        group = ord(letter) - 48
        if not 0 <= group < 64 or shift > 60:
            return None
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return None if shift else runs


def runs_of_valid(counts: bytes) -> npt.NDArray[np.int64]:
    """What :func:`decoded_runs` makes of runs that are known to be right, in a tenth of the time."""
    groups = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(groups < 32)
    if not len(ends):
        return np.zeros(0, np.int64)
    lengths = np.diff(ends, prepend=-1)
    starts = ends + 1 - lengths
    shifts = 5 * (np.arange(len(groups)) - np.repeat(starts, lengths))
    runs: npt.NDArray[np.int64] = np.add.reduceat((groups & 31) << shifts, starts)
    runs -= np.where(groups[ends] & 16, np.int64(1) << 5 * lengths, 0)
    for first in (1, 2):  # each is the difference to the run two before it
        runs[first::2] = np.cumsum(runs[first::2])
    return runs


def paint_runs(column_major: npt.NDArray[np.uint8], runs: npt.NDArray[np.integer], label: int) -> None:
    """Paint a run-length mask into a flat image, uint8 [W * H], in place.

    Runs go down the columns; the first is of background, the second of the object, and so on.
    """
    ends = np.cumsum(runs).tolist()
    for start, end in zip(ends[0::2], ends[1::2], strict=False):
        column_major[start:end] = label
