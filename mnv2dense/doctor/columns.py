"""The objects of a split, without the regions to ignore."""

from __future__ import annotations

from mnv2dense.types import BoxColumns


def without_crowds(columns: BoxColumns) -> BoxColumns:
    """The same images, and of their boxes those that are objects."""
    kept = ~columns.crowds
    return BoxColumns(
        columns.image_ids,
        columns.images[kept],
        columns.boxes[kept],
        columns.labels[kept],
        columns.crowds[kept],
        columns.areas[kept],
    )
