"""Predictions for files: annotated pictures and one json in a folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mnv2dense.data.pictures import PictureError, read_picture
from mnv2dense.draw import save_picture
from mnv2dense.draw_masks import MASK_OPACITY, save_labels
from mnv2dense.draw_result import draw_result
from mnv2dense.predictor import Predictor
from mnv2dense.types import Classification, Detections, Segmentation


def predict_pictures(
    predictor: Predictor,
    pictures: Sequence[Path],
    folder: Path,
    *,
    opacity: float = MASK_OPACITY,
    legend: bool = True,
    advance: Callable[[], None] = lambda: None,
) -> dict[Path, str]:
    """Write ``<name>.jpg`` with the result drawn for each picture, and ``predictions.json`` for all.

    The json of a detector is a COCO ``instances`` file with a ``score`` in each annotation; category ids are those of
    the data that the model was trained on. That of a classifier lists the likeliest classes of each picture. Of masks
    the json has the share of each class, and ``labels/<name>.png`` the class of every pixel, in the palette's colours.

    Args:
        predictor: of any model.
        pictures: files to read.
        folder: exists; is written to.
        opacity: of the colours of masks over the picture, 0..1.
        legend: whether the picture names the colours of masks.
        advance: called after each picture, for a progress bar.

    Returns:
        Pictures that could not be read, and why; the others are done all the same.
    """
    images: list[dict[str, Any]] = []
    results: list[Any] = []
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
        results.append(found)
        save_picture(draw_result(picture, found, opacity=opacity, legend=legend), folder / output)
        if isinstance(found, Segmentation):
            save_labels(found, (folder / "labels" / output).with_suffix(".png"))
        advance()
    task = predictor.model.task
    if task == "classification":
        content = _classes(images, results)
    elif task == "segmentation":
        content = _shares(images, results)
    else:
        content = _coco(images, results, predictor)
    (folder / "predictions.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return failed


# The rest of a thousand classes is noise.
_LISTED_CLASSES = 5


def _classes(images: Sequence[dict[str, Any]], results: Sequence[Classification]) -> dict[str, Any]:
    listed = []
    for image, found in zip(images, results, strict=True):
        best = found.top(_LISTED_CLASSES)
        rows = zip(best.names, best.labels.tolist(), best.scores.tolist(), strict=True)
        classes = [{"name": name, "label": label, "score": round(score, 5)} for name, label, score in rows]
        listed.append({**image, "classes": classes})
    return {"images": listed}


def _shares(images: Sequence[dict[str, Any]], results: Sequence[Segmentation]) -> dict[str, Any]:
    """Where the label picture of each lies, and what share of it each class covers."""
    return {
        "images": [
            {**image, "shares": {name: round(share, 5) for name, share in found.shares().items()}}
            for image, found in zip(images, results, strict=True)
        ]
    }


def _coco(images: Sequence[dict[str, Any]], results: Sequence[Detections], predictor: Predictor) -> dict[str, Any]:
    ids, names = predictor.model.category_ids, predictor.model.class_names
    annotations: list[dict[str, Any]] = []
    for image, found in zip(images, results, strict=True):
        annotations.extend(_annotations(found, ids, image_id=image["id"], first_id=len(annotations) + 1))
    categories = [{"id": number, "name": name} for number, name in zip(ids, names, strict=True)]
    return {"images": images, "categories": categories, "annotations": annotations}


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
