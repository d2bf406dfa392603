"""Labels that what was learnt from all other images does not believe (Northcutt et al. 2021, "confident learning")."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]  # type: ignore[type-arg]


class Doubts(NamedTuple):
    """Of N labels.

    Attributes:
        scores: float64 [N], 0..1, how little the label is believed.
        proposed: int64 [N], the likeliest other class.
        off_diagonal: bool [N], whether another class is as likely as is usual where that class is annotated: what
            confident learning counts as a wrong label. The others are only unclear.
    """

    scores: npt.NDArray[np.float64]
    proposed: npt.NDArray[np.int64]
    off_diagonal: npt.NDArray[np.bool_]


def doubt_classes(labels: npt.NDArray[np.int64], probabilities: Floats) -> Doubts:
    """How much each label is to be doubted.

    Args:
        labels: [N], 0..K-1.
        probabilities: [N, K], out of fold: of models that have not learnt from the label itself.

    Raises:
        ValueError: shapes that do not fit, or fewer than two classes.
    """
    count, classes = probabilities.shape
    if len(labels) != count or classes < 2:
        raise ValueError(
            f"{len(labels)} labels and probabilities of {count} x {classes}: a row for each label and at least two "
            "classes are needed."
        )
    rows = np.arange(count)
    own = probabilities[rows, labels].astype(np.float64)
    usual = np.full(classes, np.inf)  # of a class: how likely it is on average where it is annotated
    counts = np.bincount(labels, minlength=classes)
    usual[counts > 0] = (np.bincount(labels, own, classes) / np.maximum(counts, 1))[counts > 0]
    others = probabilities.astype(np.float64)
    others[rows, labels] = -1.0
    proposed = others.argmax(axis=1)
    reached = others >= usual
    reached[rows, labels] = False
    return Doubts(1.0 - own, proposed, reached.any(axis=1) & (others[rows, proposed] > own))
