"""COCO: ``annotations/instances_<split>.json`` and ``images/<split>`` (cocodataset.org/#format-data)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mnv2dense.data.writing.names import FreeNames
from mnv2dense.data.writing.notes import Note
from mnv2dense.data.writing.placing import Placing, place_images
from mnv2dense.data.writing.truth import BoxTruth
from mnv2dense.utils.files import atomic_write


def write_coco(
    folder: Path,
    splits: Mapping[str, BoxTruth],
    *,
    images: Placing,
    told: Callable[[int, int], None] | None = None,
) -> list[Note]:
    """Write data sets of boxes as COCO. Of those that were COCO, every field of a row stays as it was.

    Args:
        folder: exists.
        splits: name -> its images and boxes.
        images: how images get there.
        told: called with (images done, images in all) of each split.

    Returns:
        What is not as it was.
    """
    notes: list[Note] = []
    (folder / "annotations").mkdir()
    for split, truth in splits.items():
        free = FreeNames(by_stem=False)
        names = [free.give(name, path) for name, path in zip(truth.names, truth.paths, strict=True)]
        content = _content(truth, names)
        with atomic_write(folder / "annotations" / f"instances_{split}.json", sync=False) as file:
            file.write(json.dumps(content, ensure_ascii=False).encode("utf-8", "backslashreplace"))
        pairs = [(path, folder / "images" / split / name) for path, name in zip(truth.paths, names, strict=True)]
        place_images(pairs, images=images, told=told)
        renamed = sum(name != before for name, before in zip(names, truth.names, strict=True))
        if truth.coco is None:
            crowds = int(truth.objects.ignored.sum())
            notes.append(Note("crowds", crowds, "regions to ignore, such as VOC's difficult objects, are crowds"))
        notes.append(Note("names", renamed, "images were renamed: their names were taken or could not be written"))
    return notes


def _content(truth: BoxTruth, names: list[str]) -> dict[str, Any]:
    objects, rows = truth.objects, truth.coco
    ids = objects.ids.tolist()
    if ids and min(ids) < 1:  # pycocotools takes a match with annotation 0 for no match
        if rows is not None:
            rows = rows._replace(annotations={new: rows.annotations[old] for new, old in enumerate(ids, start=1)})
        ids = list(range(1, len(ids) + 1))
    columns = (objects.images, objects.boxes, objects.labels, objects.areas, objects.ignored)
    annotations: list[dict[str, Any]] = [
        {
            "id": annotation_id,
            "image_id": truth.image_ids[image],
            "category_id": truth.category_ids[label],
            "bbox": box,
            "area": area,
            "iscrowd": int(crowd),
        }
        for annotation_id, image, box, label, area, crowd in zip(
            ids, *(column.tolist() for column in columns), strict=True
        )
    ]
    images: list[dict[str, Any]] = [
        {"id": image_id, "file_name": name, "height": height, "width": width}
        for image_id, name, (height, width) in zip(truth.image_ids, names, truth.sizes.tolist(), strict=True)
    ]
    categories: list[dict[str, Any]] = [
        {"id": category_id, "name": name}
        for category_id, name in zip(truth.category_ids, truth.class_names, strict=True)
    ]
    if rows is None:
        info = {"description": truth.source}
        return {"info": info, "images": images, "categories": categories, "annotations": annotations}
    return {
        **rows.others,
        # The recorded size is what run-length masks of the image go by. Ids may be new, of several files put together.
        "images": [_as_it_was(row, rows.images[row["id"]], but=("id", "file_name")) for row in images],
        "categories": [rows.categories[row["id"]] for row in categories],
        "annotations": [
            _as_it_was(row, rows.annotations[row["id"]], but=("id", "image_id", "category_id")) for row in annotations
        ],
    }


def _as_it_was(row: dict[str, Any], before: Mapping[str, Any], *, but: tuple[str, ...]) -> dict[str, Any]:
    """The row with all fields that it had before, but for these."""
    return {**row, **before, **{key: row[key] for key in but}}
