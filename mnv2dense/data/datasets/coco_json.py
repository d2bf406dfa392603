"""COCO's annotation files: read and checked whole, before any image is."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.box_table import Objects, refuse_shares
from mnv2dense.data.datasets.coco_outlines import Outlines
from mnv2dense.data.datasets.coco_rle import check_polygons, check_rle
from mnv2dense.data.datasets.columns import Names
from mnv2dense.data.datasets.label_values import (
    LARGEST_COORDINATE,
    LARGEST_ID,
    class_name,
    is_id,
    is_true,
    is_within,
)
from mnv2dense.utils.numbers import is_whole
from mnv2dense.utils.text_files import looks_like


class CocoColumns(NamedTuple):
    """A checked ``instances`` file as arrays.

    Attributes:
        image_ids: int64 [P].
        names: P file names.
        sizes: int64 [P, 2], the recorded (height, width) in pixels; 0 where there is none.
        category_ids: K ids, ascending.
        class_names: K names, by the ids' order; those that occur twice carry their id.
        objects: the columns of the T annotations.
        outlines: those of the T annotations, where they were asked for.
    """

    image_ids: npt.NDArray[np.int64]
    names: Names
    sizes: npt.NDArray[np.int64]
    category_ids: list[int]
    class_names: tuple[str, ...]
    objects: Objects
    outlines: Outlines | None = None


def read_columns(file: Path, *, outlined: bool = False) -> CocoColumns:
    """Read and check a file for its boxes, and for its outlines where they are wanted.

    Raises:
        ValueError: it is not valid; the message names the file and the annotation.
    """
    content = load_json(file)
    listed = checked_images(file, content["images"])
    category_ids, class_names = checked_categories(file, content["categories"])
    objects = _objects(file, content["annotations"], listed, category_ids)
    return CocoColumns(
        image_ids=np.array([image["id"] for image in listed], np.int64),
        names=Names.of(image["file_name"] for image in listed),
        sizes=np.array([recorded_size(image) or (0, 0) for image in listed], np.int64).reshape(-1, 2),
        category_ids=category_ids,
        class_names=class_names,
        objects=objects,
        outlines=Outlines.of_rows(content["annotations"]) if outlined else None,
    )


def classes_of_categories(
    file: Path, categories: Sequence[str], class_names: Sequence[str], class_map: Mapping[str, str]
) -> dict[int, int]:
    """Place of a category -> place of its class: that of the same name, or the one that ``class_map`` says.

    Raises:
        ValueError: ``class_map`` names what is no class, or no category has a class.
    """
    place_of = {name: label for label, name in enumerate(class_names)}
    unknown = [f"{category}: {name}" for category, name in class_map.items() if name not in place_of]
    if unknown:
        raise ValueError(f"class_map has {', '.join(unknown[:5])}, but the classes are: {', '.join(class_names)}.")
    names = [class_map.get(category, category) for category in categories]
    found = {place: place_of[name] for place, name in enumerate(names) if name in place_of}
    if not found:
        raise ValueError(
            f"{file}: none of its categories is a class. They are: {', '.join(categories[:10])}, ...; the classes: "
            f"{', '.join(class_names[:10])}, .... Say which is which with class_map=, as in "
            f"{{{categories[0]}: {class_names[-1]}}}."
        )
    return found


def load_json(file: Path) -> dict[str, list[dict[str, Any]]]:
    """The json, with its three lists of objects."""
    try:
        content = json.loads(file.read_bytes(), object_pairs_hook=with_each_key_once)
    except RecursionError as error:
        raise ValueError(f"{file}: its values are nested too deep to be meant. Export it again.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8 text; {looks_like(file.read_bytes())}") from error
    except ValueError as error:  # JSONDecodeError; or a number of thousands of digits
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


def with_each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; Python's reader takes the last of two lists of images, say, without a word."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r:.60} is there twice in one object, so that one of them would be lost")
    return found


def checked_images(file: Path, images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The images as they are, if each has an id of its own, a name, and a size or none.

    Raises:
        ValueError: naming the first that has not.
    """
    for position, image in enumerate(images):
        name = image.get("file_name")
        if not is_id(image.get("id")) or not isinstance(name, str) or not name.strip() or "\0" in name:
            raise ValueError(
                f"{file}: images[{position}] needs an integer 'id' and a 'file_name' (ids have 64 bits at most): "
                f"{image!r:.200}"
            )
        size = recorded_size(image)
        if size is not None and not all(is_whole(side) and 0 < side <= LARGEST_COORDINATE for side in size):
            raise ValueError(
                f"{file}: image {image['id']} ({image['file_name']}) has width {image['width']!r} and "
                f"height {image['height']!r}; give positive integers, or neither: then the image is asked."
            )
    refuse_duplicates(file, "image", (image["id"] for image in images))
    return images


def recorded_size(image: dict[str, Any]) -> tuple[int, int] | None:
    """The recorded (height, width)."""
    return (image["height"], image["width"]) if "height" in image and "width" in image else None


def checked_categories(file: Path, categories: list[dict[str, Any]]) -> tuple[list[int], tuple[str, ...]]:
    """Category ids in ascending order and their names."""
    for category in categories:
        if not is_id(category.get("id")) or "name" not in category:
            raise ValueError(
                f"{file}: a category needs an integer 'id' and a 'name' (ids have 64 bits at most): {category!r:.200}"
            )
    if not categories:
        raise ValueError(f"{file}: 'categories' is empty; give every class an id and a name.")
    refuse_duplicates(file, "category", (category["id"] for category in categories))
    try:
        names = {
            category["id"]: class_name(category["name"]) for category in sorted(categories, key=lambda c: int(c["id"]))
        }
    except ValueError as error:
        raise ValueError(f"{file}: in 'categories', {error}.") from error
    uses = Counter(names.values())
    # Some exporters name a parent category like its child; scores per class need names that differ.
    return list(names), tuple(name if uses[name] == 1 else f"{name} ({id_})" for id_, name in names.items())


def _objects(
    file: Path, annotations: list[dict[str, Any]], images: list[dict[str, Any]], category_ids: Sequence[int]
) -> Objects:
    """The checked columns of all annotations."""
    for position, row in enumerate(annotations):
        if not all(is_whole(row.get(key)) for key in ("id", "image_id", "category_id")) or abs(row["id"]) > LARGEST_ID:
            raise ValueError(
                f"{file}: annotations[{position}] needs integer 'id', 'image_id', 'category_id' (64 bits at most): "
                f"{row!r:.200}"
            )
    refuse_duplicates(file, "annotation", (row["id"] for row in annotations))
    image_of = {image["id"]: index for index, image in enumerate(images)}
    label_of = {category_id: label for label, category_id in enumerate(category_ids)}
    for key, known, listed in (("image_id", image_of, "images"), ("category_id", label_of, "categories")):
        lost = [row for row in annotations if row[key] not in known]
        if lost:
            examples = ", ".join(f"annotation {row['id']} has {key} {row[key]}" for row in lost[:5])
            raise ValueError(
                f"{file}: {len(lost)} annotations name what {listed!r} does not list: {examples}. "
                f"Add the missing {listed} or remove those annotations."
            )
    boxes = numbers_of(file, annotations, [row.get("bbox") for row in annotations], "bbox").reshape(-1, 4)
    refuse_shares(file, boxes)
    default_areas = boxes[:, 2] * boxes[:, 3]
    areas = [row.get("area", default) for row, default in zip(annotations, default_areas, strict=True)]
    ignored = np.array([is_crowd(file, row) for row in annotations], np.bool_)
    check_polygons(file, annotations)
    for row in annotations:
        if isinstance(row.get("segmentation"), dict):
            check_rle(file, row, recorded_size(images[image_of[row["image_id"]]]))
    return Objects(
        images=np.array([image_of[row["image_id"]] for row in annotations], np.int64),
        boxes=boxes,
        labels=np.array([label_of[row["category_id"]] for row in annotations], np.int64),
        ignored=ignored,
        areas=numbers_of(file, annotations, areas, "area", limit=LARGEST_COORDINATE**2),
        ids=np.array([row["id"] for row in annotations], np.int64),
    )


# What json and our own areas of boxes are made of.
_NUMBERS = {int, float, np.float64}


def is_crowd(file: Path, row: dict[str, Any]) -> bool:
    """Whether an annotation is one, as its ``iscrowd`` says, which becomes 0 or 1.

    Raises:
        ValueError: it says neither.
    """
    value = row.get("iscrowd", 0)
    if type(value) is int and 0 <= value <= 1:  # as all of COCO's are
        return value == 1
    try:
        row["iscrowd"] = int(is_true(value))
        return bool(row["iscrowd"])
    except ValueError as error:
        raise ValueError(f"{file}: annotation {row['id']}: iscrowd {error}. Correct it.") from error


def numbers_of(
    file: Path, rows: list[dict[str, Any]], values: list[Any], key: str, limit: float = LARGEST_COORDINATE
) -> npt.NDArray[np.float64]:
    """One number or four per annotation as float64; all at once, one by one only to name the culprit."""
    shape = (len(values), 4) if key == "bbox" else (len(values),)
    try:
        # numpy would take text and truth values for numbers; the types of all are known in a moment.
        kinds = set(map(type, itertools.chain.from_iterable(values) if key == "bbox" else values))
        numbers = np.array(values if kinds <= _NUMBERS else [], np.float64)
        if numbers.shape == shape and (np.abs(numbers) <= limit).all():  # NaN compares false
            return numbers
    except (TypeError, ValueError, OverflowError):  # not numbers, rows of different lengths, or 400 digits
        pass
    if not values:
        return np.zeros(shape)
    for row, value in zip(rows, values, strict=True):
        parts = value if key == "bbox" and isinstance(value, list) else [value]
        if len(parts) != (4 if key == "bbox" else 1) or not all(is_within(part, limit) for part in parts):
            raise ValueError(
                f"{file}: annotation {row['id']} has {key} {value!r:.200}; "
                f"{'four numbers' if key == 'bbox' else 'a number'} within +-{limit:g} expected. "
                "Correct or remove it."
            )
    raise AssertionError("a column that no row explains")


def refuse_duplicates(file: Path, what: str, ids: Iterable[int]) -> None:
    """Raise a ValueError that lists the ids that occur more than once."""
    twice = [f"{id_} ({count} times)" for id_, count in Counter(ids).items() if count > 1]
    if twice:
        more = f", ... ({len(twice)} in all)" if len(twice) > 10 else ""
        raise ValueError(
            f"{file}: {what} ids that occur more than once: {', '.join(twice[:10])}{more}. "
            "Remove the repeats, or give each its own id."
        )
