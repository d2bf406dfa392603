"""Columns of boxes as COCO's own dict, which libraries and people read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mnv2dense.types import BoxColumns


def coco_instances(
    source: str | Path,
    columns: BoxColumns,
    *,
    ids: Sequence[int],
    file_names: Iterable[str],
    sizes: Iterable[Sequence[int]],
    category_ids: Sequence[int],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """The content of an ``instances`` json.

    Args:
        source: where the truth is from, as its description.
        columns: T boxes of P images; regions to ignore become crowds.
        ids: T ids of annotations.
        file_names: P names.
        sizes: P times (height, width), pixels.
        category_ids: K ids, by label.
        class_names: K names, by label.
    """
    image_ids = columns.image_ids.tolist()
    rows = (columns.images, columns.boxes, columns.labels, columns.crowds, columns.areas)
    return {
        "info": {"description": str(source)},
        "images": [
            {"id": image_id, "file_name": name, "height": height, "width": width}
            for image_id, name, (height, width) in zip(image_ids, file_names, sizes, strict=True)
        ],
        "categories": [
            {"id": category_id, "name": name} for category_id, name in zip(category_ids, class_names, strict=True)
        ],
        "annotations": [
            {
                "id": annotation_id,
                "image_id": image_ids[image],
                "category_id": category_ids[label],
                "bbox": box,
                "area": area,
                "iscrowd": int(crowd),
            }
            for annotation_id, image, box, label, crowd, area in zip(
                ids, *(column.tolist() for column in rows), strict=True
            )
        ],
    }
