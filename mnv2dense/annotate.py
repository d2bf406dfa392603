"""Predictions for files: annotated pictures and one COCO-style json in a folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mnv2dense.data.pictures import PictureError, read_picture
from mnv2dense.draw import draw_detections, save_picture
from mnv2dense.predictor import Predictor
from mnv2dense.types import Detections


def predict_pictures(
    predictor: Predictor,
    pictures: Sequence[Path],
    folder: Path,
    *,
    advance: Callable[[], None] = lambda: None,
) -> dict[Path, str]:
    """Write ``<name>.jpg`` with boxes drawn for each picture, and ``predictions.json`` for all.

    The json is a COCO ``instances`` file with a ``score`` in each annotation; category ids are those of the data that
    the model was trained on.

    Args:
        predictor: a detector's.
        pictures: files to read.
        folder: exists; is written to.
        advance: called after each picture, for a progress bar.

    Returns:
        Pictures that could not be read, and why; the others are done all the same.
    """
    ids = predictor.model.category_ids
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    failed: dict[Path, str] = {}
    for path, output in zip(pictures, _output_names(pictures), strict=True):
        try:
            picture = read_picture(path)
        except (PictureError, OSError) as error:
            failed[path] = str(error)
            advance()
            continue
        found = predictor(picture)
        height, width = picture.shape[:2]
        images.append({"id": len(images) + 1, "file_name": path.name, "height": height, "width": width})
        annotations.extend(_annotations(found, ids, image_id=len(images), first_id=len(annotations) + 1))
        save_picture(draw_detections(picture, found), folder / output)
        advance()
    names = predictor.model.class_names
    categories = [{"id": number, "name": name} for number, name in zip(ids, names, strict=True)]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (folder / "predictions.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return failed


def _annotations(found: Detections, ids: Sequence[int], *, image_id: int, first_id: int) -> list[dict[str, Any]]:
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
    return [
        {
            "id": first_id + number,
            "image_id": image_id,
            "category_id": ids[label],
            "bbox": [round(value, 2) for value in (left, top, right - left, bottom - top)],
            "area": round((right - left) * (bottom - top), 2),
            "iscrowd": 0,
            "score": round(score, 5),
        }
        for number, ((left, top, right, bottom), score, label) in enumerate(rows)
    ]


def _output_names(pictures: Sequence[Path]) -> list[str]:
    """``a.png`` and ``a.jpg`` in one folder must not overwrite each other's result."""
    stems = Counter(path.stem for path in pictures)
    return [f"{path.stem}.jpg" if stems[path.stem] == 1 else f"{path.name}.jpg" for path in pictures]
