"""Which classes are taken for which others most often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Mistaken(NamedTuple):
    """One class taken for another, so many times."""

    truth: str
    taken_for: str
    times: int


def most_mistaken(confusion: npt.NDArray[np.int64], class_names: Sequence[str], *, most: int = 8) -> list[Mistaken]:
    """The largest counts beside the diagonal, at most so many, the largest first; those of 0 are left out.

    Args:
        confusion: [K, K], truth in rows, what it was taken for in columns.
        class_names: K names.
        most: how many.
    """
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    rows, columns = (index.tolist() for index in np.unravel_index(order, wrong.shape))
    return [
        Mistaken(class_names[row], class_names[column], int(wrong[row, column]))
        for row, column in zip(rows, columns, strict=True)
        if wrong[row, column]
    ]
