"""Objects that are annotated twice."""

from __future__ import annotations

import numpy as np

from mnv2dense.doctor.doubled_boxes import doubled_boxes
from mnv2dense.doctor.frozen import true_boxes
from mnv2dense.types import IGNORE_LABEL, BoxColumns


def columns_of(*rows: tuple[int, int, int, int, int, int]) -> BoxColumns:
    """(image, label, x, y, width, height), in any order of images."""
    table = np.array(rows)
    labels, boxes = table[:, 1], table[:, 2:].astype(np.float64)
    return BoxColumns(np.arange(3), table[:, 0], boxes, labels, labels == IGNORE_LABEL, boxes[:, 2] * boxes[:, 3])


def test_doubled_boxes_are_of_one_class_and_image_and_named_once() -> None:
    doubled = doubled_boxes(
        columns_of(
            (2, 0, 0, 0, 10, 10),
            (0, 0, 0, 0, 10, 10),
            (0, 0, 0, 0, 10, 8),
            (0, 0, 0, 0, 10, 9),  # covers both, the one before by 80/90
            (0, 1, 0, 0, 10, 10),
            (0, 0, 30, 0, 10, 10),
            (2, 0, 3, 0, 10, 10),  # IoU 70/130
            (0, IGNORE_LABEL, 30, 0, 10, 10),
        )
    )
    assert np.column_stack(doubled).tolist() == [[3, 1, 0.9], [2, 1, 0.8]]


def test_without_boxes_none_is_doubled() -> None:
    empty = true_boxes(3, np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0, np.int64))
    assert doubled_boxes(empty).rows.shape == (0,)
