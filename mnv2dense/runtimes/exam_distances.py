"""How far answers to an exam are apart: of numbers, of labels and of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import numpy.typing as npt

from mnv2dense.runtimes.exam import Answers, Places, Values

Boxes = list[dict[str, Any]]

MOST_BOXES = 20
"""Of one picture: a fault may show a hundred, and a few tell it."""


def distances(
    found: Sequence[Answers],
    others: Sequence[Answers],
    right: Sequence[Answers],
    *,
    labels: AbstractSet[str],
    threshold: float,
) -> dict[str, float]:
    """Output, or key of boxes -> how far answers are apart, over all pictures together.

    Args:
        found: of each picture.
        others: that these are compared with.
        right: whose spread numbers are a share of, and which say what is compared.
        labels: outputs whose values are classes.
        threshold: from which on boxes count.
    """
    apart = {}
    for name in right[0].values:
        ours, theirs, own = ([each.values[name] for each in answers] for answers in (found, others, right))
        apart[name] = label_distance(ours, theirs) if name in labels else distance(ours, theirs, spread_of(own))
    for key in right[0].boxes:
        pairs = [
            box_distance(ours.boxes.get(key, []), theirs.boxes.get(key, []), threshold)
            for ours, theirs in zip(found, others, strict=True)
        ]
        total = sum(pair[1] for pair in pairs)
        apart[key] = sum(pair[0] for pair in pairs) / total if total > 0 else 0.0
    return apart


def less_rounding(found: Answers, *, own: Answers, right: Answers, labels: AbstractSet[str]) -> Answers:
    """What a file answers, without what its rounding had changed when it was written; boxes stay as they are.

    Rounding to int8 moves answers farther than many a fault does, but it moves them to the same place everywhere.

    Args:
        found: by the file.
        own: by the file, when it was written.
        right: by the model.
        labels: outputs whose values are classes.
    """
    values = {
        name: np.where(each == own.values[name], right.values[name], each)
        if name in labels
        else each - own.values[name] + right.values[name]
        for name, each in found.values.items()
    }
    return Answers(values, found.boxes)


def values_at(tensor: npt.NDArray[Any], places: Places) -> Values:
    """What one image's tensor holds at flat indexes; what is no number becomes one that no answer is near to.

    Raises:
        ValueError: a place beyond the tensor.
    """
    flat = tensor.reshape(-1)
    if len(places) and int(places.max()) >= len(flat):
        raise ValueError(f"its exam looks at place {int(places.max())} of {len(flat)} values")
    return np.nan_to_num(flat[places].astype(np.float64), nan=1e9, posinf=1e9, neginf=-1e9).clip(-1e9, 1e9)


def spread_of(answers: list[Values]) -> float:
    """What distances are a share of: root of the sum of squares about the mean of all; 1 where all are equal."""
    every = np.concatenate(answers)
    spread = float(np.sqrt(((every - every.mean()) ** 2).sum()))
    return spread if spread > 0 else 1.0


def distance(found: list[Values], answers: list[Values], spread: float) -> float:
    """Of one output over all pictures: root of the sum of squared differences, as a share of ``spread``."""
    return (
        float(np.sqrt(sum(((ours - theirs) ** 2).sum() for ours, theirs in zip(found, answers, strict=True)))) / spread
    )


def label_distance(found: list[Values], answers: list[Values]) -> float:
    """Of labels: the share of places, of all pictures together, at which another class stands."""
    return float(np.mean(np.concatenate(found) != np.concatenate(answers)))


def box_distance(first: Boxes, second: Boxes, threshold: float) -> tuple[float, float]:
    """How far two answers in boxes are apart, and what that is a share of.

    Each box counts by how far its score is above the threshold, so that one which rounding drops changes little.

    Args:
        first: boxes with "label", "score" and "box" (xyxy, pixels); the best 20 above the threshold count.
        second: likewise.
        threshold: 0..1.
    """
    first, second = (
        sorted((box for box in boxes if box["score"] > threshold), key=lambda box: -box["score"])[:MOST_BOXES]
        for boxes in (first, second)
    )
    total = sum(box["score"] - threshold for box in (*first, *second))
    apart, left = 0.0, list(second)
    for box in first:
        overlaps = [_iou(box["box"], other["box"]) if other["label"] == box["label"] else 0.0 for other in left]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if best < 0 or overlaps[best] < 0.5:
            apart += box["score"] - threshold
            continue
        other = left.pop(best)
        least = min(box["score"], other["score"]) - threshold
        apart += abs(box["score"] - other["score"]) + (1 - overlaps[best]) * least
    return apart + sum(box["score"] - threshold for box in left), total


def _iou(first: list[float], second: list[float]) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return width * height / (sum(areas) - width * height)
