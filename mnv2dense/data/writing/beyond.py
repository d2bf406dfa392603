"""What formats without ids and outlines cannot say, and the file that keeps the ids: ``ids.json``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mnv2dense.data.datasets.coco_rle import has_outline
from mnv2dense.data.datasets.id_file import FILE_NAME
from mnv2dense.data.writing.notes import Note
from mnv2dense.data.writing.truth import BoxTruth

# Areas of boxes that were multiplied by somebody else are equal but for rounding.
_SAME_AREA = 1e-3


def notes_of_boxes(truth: BoxTruth, names: Sequence[str]) -> list[Note]:
    """What becomes of one split in a format that has boxes and classes of images, and nothing else.

    Args:
        truth: as it was.
        names: what its images are called now.
    """
    objects = truth.objects
    own = objects.boxes[:, 2] * objects.boxes[:, 3]
    other_areas = int((np.abs(objects.areas - own) > _SAME_AREA * np.maximum(own, 1)).sum())
    renumbered = 0 if np.array_equal(objects.ids, np.arange(1, len(objects.ids) + 1)) else len(objects.ids)
    renamed = sum(name != before for name, before in zip(names, truth.names, strict=True))
    rows = [] if truth.coco is None else [truth.coco.annotations[number] for number in objects.ids.tolist()]
    outlines = sum(has_outline(row.get("segmentation")) for row in rows)
    known = {"id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation"}
    others = sum(bool(row.keys() - known) for row in rows)
    return [
        Note("outlines", outlines, "objects lose their polygon or mask; their box stays"),
        Note("areas", other_areas, "objects have the area of their box, which tells small from large"),
        Note("ids of objects", renumbered, "objects are numbered anew"),
        Note("other fields", others, "objects lose fields that only their json has, such as attributes or key points"),
        Note("outside", truth.outside(), "boxes that stuck out of their image were clipped to it"),
        Note("names", renamed, "images were renamed: their names were taken or could not be written"),
    ]


def write_ids(
    folder: Path,
    splits: Mapping[str, BoxTruth],
    places: Mapping[str, list[str]],
    *,
    usual_categories: Mapping[str, list[int]],
    usual_images: Callable[[list[str]], Sequence[int]],
    order: bool = False,
) -> list[Note]:
    """Keep ids of images and categories where a reader would give others.

    Args:
        folder: of the data set.
        splits: name -> its images and boxes.
        places: of each split, where its images lie below ``folder``.
        usual_categories: of each split, the ids that a reader gives its classes.
        usual_images: the ids that a reader gives images at these places.
        order: keep the classes in any case: a reader would put them in another order.
    """
    categories = {
        name: number
        for truth in splits.values()
        for name, number in zip(truth.class_names, truth.category_ids, strict=True)
    }
    other_classes = max(
        sum(a != b for a, b in zip(truth.category_ids, usual_categories[split], strict=True))
        for split, truth in splits.items()
    )
    images: dict[str, int] = {}
    for split, truth in splits.items():
        if list(usual_images(places[split])) != truth.image_ids:
            images |= zip(places[split], truth.image_ids, strict=True)
    if images or other_classes or order:
        content = {"categories": categories, "images": images}
        (folder / FILE_NAME).write_text(json.dumps(content, ensure_ascii=False, indent=0), encoding="utf-8")
    kept = f"are kept in {FILE_NAME}, which this project's readers alone look at"
    return [Note("ids of classes", other_classes, f"ids {kept}"), Note("ids of images", len(images), f"ids {kept}")]
