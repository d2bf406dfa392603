"""COCO detection: an ``instances`` json and a folder of pictures (cocodataset.org/#format-data)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from mnv2dense.data.box_table import LARGEST_COORDINATE, BadPictures, BoxTable, Objects, usable_pictures
from mnv2dense.data.segmentations import check_polygons, check_rle, is_int, is_within
from mnv2dense.types import Sample


@final
class CocoDetection:
    """Boxes of a COCO json. Pictures without annotations stay, as negatives; crowds are to be ignored.

    Labels are 0..K-1 in the order of the category ids, whatever gaps those have. The whole file is checked
    before the first picture is read, and every error names the file and the annotation.

    Args:
        root: the data set's folder.
        split: names the two defaults below.
        annotations: the json, relative to ``root``; by default ``annotations/instances_{split}.json``.
        pictures: their folder, relative to ``root``; by default ``{split}``, else ``images/{split}``.
        bad_pictures: ``error`` stops where a picture is missing or damaged; ``skip`` decodes all once
            (1,000 a second and core), leaves the bad ones out, and says how many.
        limit: only the first so many pictures of the file.

    Attributes:
        class_names: K names; those that occur twice carry their id.
        category_ids: K ids of the json, by label.
        dropped_boxes: boxes left out because nothing of them lies inside the picture.
        clipped_boxes: boxes that stuck out by more than a pixel; samples have them clipped.
        skipped_pictures: pictures left out by ``bad_pictures='skip'``.

    Raises:
        FileNotFoundError: the json or pictures are missing.
        ValueError: the json is not valid; the message says where.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        split: str = "train2017",
        annotations: str | Path | None = None,
        pictures: str | Path | None = None,
        bad_pictures: BadPictures = "error",
        limit: int | None = None,
    ) -> None:
        root = Path(root)
        file = root / (annotations or f"annotations/instances_{split}.json")
        content = _load(root, file)
        if pictures is None:
            pictures = split if (root / split).is_dir() else f"images/{split}"
            if not (root / pictures).is_dir():
                pictures = split
        images = _checked_images(file, content["images"])
        category_ids, self.class_names = _categories(file, content["categories"])
        paths = [root / pictures / image["file_name"] for image in images]
        usable = usable_pictures(file, paths, bad_pictures=bad_pictures, limit=limit)
        objects = _objects(file, content["annotations"], images, category_ids)
        new_index = np.full(len(images), -1)
        new_index[usable] = np.arange(len(usable))
        objects = objects._replace(pictures=new_index[objects.pictures])
        self._table = BoxTable(
            source=file,
            class_names=self.class_names,
            category_ids=category_ids,
            image_ids=[images[i]["id"] for i in usable],
            paths=[paths[i] for i in usable],
            sizes=[_size(images[i]) for i in usable],
            objects=objects.rows(objects.pictures >= 0),
            skipped_pictures=len(paths[:limit]) - len(usable),
        )
        self.category_ids = self._table.category_ids
        self.dropped_boxes = self._table.dropped_boxes
        self.clipped_boxes = self._table.clipped_boxes
        self.skipped_pictures = self._table.skipped_pictures

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int) -> Sample:
        return self._table[index]

    def path_of(self, image_id: int) -> Path:
        """Where the picture with this id lies."""
        return self._table.path_of(image_id)

    def coco_ground_truth(self) -> dict[str, Any]:
        """What pycocotools would read from the file, without boxes of no area; ids are positive."""
        return self._table.coco_ground_truth()


def _load(root: Path, file: Path) -> dict[str, list[dict[str, Any]]]:
    """The json, with its three lists of objects."""
    if not file.is_file():
        if not root.is_dir():
            raise FileNotFoundError(f"data.root={root}: no such folder (looked from {Path.cwd()}).")
        there = sorted(str(path.relative_to(root)) for path in {*root.glob("*.json"), *root.glob("*/*.json")})
        raise FileNotFoundError(
            f"{file}: no such annotation file. Set data.root to the folder that holds annotations/, or name "
            f"the file with annotations=...; json files below {root}: {', '.join(there[:10]) or 'none'}."
        )
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise ValueError(f"{file}: not valid json ({error}). Fetch or export it again.") from error
    for key in ("images", "annotations", "categories"):
        rows = content.get(key) if isinstance(content, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            found = ", ".join(content) if isinstance(content, dict) else type(content).__name__
            raise ValueError(
                f"{file}: no list of objects under {key!r} (it has: {found}). A COCO 'instances' file has "
                "the lists images, annotations and categories; one without annotations cannot train or score."
            )
    return content  # type: ignore[no-any-return]  # checked above


def _checked_images(file: Path, images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for position, image in enumerate(images):
        if not is_int(image.get("id")) or not isinstance(image.get("file_name"), str):
            raise ValueError(f"{file}: images[{position}] needs an integer 'id' and a 'file_name': {image!r:.200}")
        if _size(image) is not None and not all(is_int(side) and side > 0 for side in _size(image) or ()):
            raise ValueError(
                f"{file}: image {image['id']} ({image['file_name']}) has width {image['width']!r} and "
                f"height {image['height']!r}; give positive integers, or neither: then the picture is asked."
            )
    _refuse_duplicates(file, "image", (image["id"] for image in images))
    return images


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    """The recorded (height, width)."""
    return (image["height"], image["width"]) if "height" in image and "width" in image else None


def _categories(file: Path, categories: list[dict[str, Any]]) -> tuple[list[int], tuple[str, ...]]:
    """Category ids in ascending order and their names."""
    for category in categories:
        if not is_int(category.get("id")) or not isinstance(category.get("name"), str):
            raise ValueError(f"{file}: a category needs an integer 'id' and a 'name': {category!r:.200}")
    if not categories:
        raise ValueError(f"{file}: 'categories' is empty; give every class an id and a name.")
    _refuse_duplicates(file, "category", (category["id"] for category in categories))
    names = {category["id"]: category["name"] for category in sorted(categories, key=lambda c: int(c["id"]))}
    uses = Counter(names.values())
    # Some exporters name a parent category like its child; scores per class need names that differ.
    return list(names), tuple(name if uses[name] == 1 else f"{name} ({id_})" for id_, name in names.items())


def _objects(
    file: Path, annotations: list[dict[str, Any]], images: list[dict[str, Any]], category_ids: Sequence[int]
) -> Objects:
    """The checked columns of all annotations."""
    for position, row in enumerate(annotations):
        if not all(is_int(row.get(key)) for key in ("id", "image_id", "category_id")):
            raise ValueError(
                f"{file}: annotations[{position}] needs integer 'id', 'image_id', 'category_id': {row!r:.200}"
            )
    _refuse_duplicates(file, "annotation", (row["id"] for row in annotations))
    picture_of = {image["id"]: index for index, image in enumerate(images)}
    label_of = {category_id: label for label, category_id in enumerate(category_ids)}
    for key, known, listed in (("image_id", picture_of, "images"), ("category_id", label_of, "categories")):
        lost = [row for row in annotations if row[key] not in known]
        if lost:
            examples = ", ".join(f"annotation {row['id']} has {key} {row[key]}" for row in lost[:5])
            raise ValueError(
                f"{file}: {len(lost)} annotations name what {listed!r} does not list: {examples}. "
                f"Add the missing {listed} or remove those annotations."
            )
    boxes = _numbers(file, annotations, [row.get("bbox") for row in annotations], "bbox").reshape(-1, 4)
    default_areas = boxes[:, 2] * boxes[:, 3]
    areas = [row.get("area", default) for row, default in zip(annotations, default_areas, strict=True)]
    for row in annotations:
        if row.get("iscrowd", 0) not in (0, 1):
            raise ValueError(f"{file}: annotation {row['id']} has iscrowd {row['iscrowd']!r}; it is 0 or 1.")
    check_polygons(file, annotations)
    for row in annotations:
        if isinstance(row.get("segmentation"), dict):
            check_rle(file, row, _size(images[picture_of[row["image_id"]]]))
    return Objects(
        pictures=np.array([picture_of[row["image_id"]] for row in annotations], np.int64),
        boxes=boxes,
        labels=np.array([label_of[row["category_id"]] for row in annotations], np.int64),
        ignored=np.array([bool(row.get("iscrowd", 0)) for row in annotations], np.bool_),
        areas=_numbers(file, annotations, areas, "area", limit=LARGEST_COORDINATE**2),
        ids=np.array([row["id"] for row in annotations], np.int64),
    )


def _numbers(
    file: Path, rows: list[dict[str, Any]], values: list[Any], key: str, limit: float = LARGEST_COORDINATE
) -> npt.NDArray[np.float64]:
    """One number or four per annotation as float64; all at once, one by one only to name the culprit."""
    shape = (len(values), 4) if key == "bbox" else (len(values),)
    try:
        numbers = np.array(values, np.float64)
        if numbers.shape == shape and (np.abs(numbers) <= limit).all():  # NaN compares false
            return numbers
    except (TypeError, ValueError):  # not numbers, or rows of different lengths
        pass
    if not values:
        return np.zeros(shape)
    for row, value in zip(rows, values, strict=True):
        parts = value if isinstance(value, list) else [value]
        if len(parts) != (4 if key == "bbox" else 1) or not all(is_within(part, limit) for part in parts):
            raise ValueError(
                f"{file}: annotation {row['id']} has {key} {value!r:.200}; "
                f"{'four numbers' if key == 'bbox' else 'a number'} within +-{limit:g} expected. "
                "Correct or remove it."
            )
    raise AssertionError("a column that no row explains")


def _refuse_duplicates(file: Path, what: str, ids: Iterable[int]) -> None:
    twice = [f"{id_} ({count} times)" for id_, count in Counter(ids).items() if count > 1]
    if twice:
        more = f", ... ({len(twice)} in all)" if len(twice) > 10 else ""
        raise ValueError(
            f"{file}: {what} ids that occur more than once: {', '.join(twice[:10])}{more}. "
            "Remove the repeats, or give each its own id."
        )
