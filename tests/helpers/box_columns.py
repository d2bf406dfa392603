"""Boxes of a few images, as the scores take them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.types import BoxColumns

Found = tuple[float, float, float, float, float, int]
"""x1, y1, x2, y2, score, label."""

Object = tuple[float, float, float, float, int, bool]
"""x, y, width, height, label, whether it is a crowd."""


def found_boxes(*images: Sequence[Found]) -> FoundBoxes:
    """What was found in each image."""
    return FoundBoxes.of_tables([np.array(rows, np.float32).reshape(-1, 6) for rows in images], range(len(images)))


def true_boxes(*images: Sequence[Object]) -> TrueBoxes:
    """What is in each image."""
    table = np.array([row for rows in images for row in rows], np.float64).reshape(-1, 6)
    places = np.repeat(np.arange(len(images)), [len(rows) for rows in images])
    labels, crowds = table[:, 4].astype(np.int64), table[:, 5].astype(np.bool_)
    areas = table[:, 2:4].prod(axis=1)
    return TrueBoxes.of_columns(BoxColumns(np.arange(len(images)), places, table[:, :4], labels, crowds, areas))
