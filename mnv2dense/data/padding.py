"""Boxes of several images as one tensor."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mnv2dense.types import IGNORE_LABEL, PADDING_LABEL

_log = logging.getLogger(__name__)


def padded(rows: Sequence[tuple[Tensor | None, Tensor | None, Path]], max_boxes: int) -> tuple[Tensor, Tensor]:
    """Boxes [N, 4] and labels [N] of B images, and where each lies -> boxes [B, M, 4] and labels [B, M].

    Of images with more than M boxes the largest are kept, and the log says so.
    """
    boxes = torch.zeros(len(rows), max_boxes, 4)
    labels = torch.full((len(rows), max_boxes), PADDING_LABEL)
    for row, (own_boxes, own_labels, path) in enumerate(rows):
        assert own_boxes is not None
        assert own_labels is not None
        kept = _largest(own_boxes, own_labels, max_boxes, path)
        boxes[row, : len(kept)] = own_boxes[kept]
        labels[row, : len(kept)] = own_labels[kept]
    return boxes, labels


def _largest(boxes: Tensor, labels: Tensor, max_boxes: int, path: Path) -> Tensor:
    """Indices of the boxes to keep, [N] or fewer, in their own order; objects before regions to ignore."""
    if len(labels) <= max_boxes:
        return torch.arange(len(labels))
    _report_crowded_image(path, len(labels), max_boxes)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    areas[labels == IGNORE_LABEL] *= -1
    return areas.argsort(descending=True, stable=True)[:max_boxes].sort().values


def _report_crowded_image(path: Path, count: int, max_boxes: int) -> None:
    global _crowded_image_reported
    if not _crowded_image_reported:
        _crowded_image_reported = True
        _log.warning(
            "%s has %d boxes, more than max_boxes=%d: the largest are kept, here and in any other such "
            "image. Raise max_boxes= to keep all.",
            path,
            count,
            max_boxes,
        )


# Once per process: a data set of crowds would fill the log.
_crowded_image_reported = False
