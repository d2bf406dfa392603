"""Labels that what was learnt from all other images does not believe (Northcutt et al. 2021, "confident learning")."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


class Doubts(NamedTuple):
    """Of N labels.

    Attributes:
        scores: float64 [N], 0..1, how little the label is believed: 1 less its probability ("self-confidence").
        proposed: int64 [N], the likeliest other class.
    """

    scores: npt.NDArray[np.float64]
    proposed: npt.NDArray[np.int64]


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
    others = probabilities.astype(np.float64)
    scores = 1.0 - others[rows, labels]
    others[rows, labels] = -1.0
    return Doubts(scores, others.argmax(axis=1))
