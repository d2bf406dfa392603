"""COCO's objects painted into masks: the outlines of an ``instances`` json, one class a pixel."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.coco_json import CocoInstances, classes_of_categories, read_instances, recorded_size
from mnv2dense.data.datasets.coco_rle import check_rle, decoded_runs, has_outline, paint_runs
from mnv2dense.data.datasets.image_list import BadImages, size_of_listed, usable_images
from mnv2dense.data.datasets.mask_png import Mask, checked_class_names, checked_palette
from mnv2dense.data.datasets.mask_table import MaskTable
from mnv2dense.types import IGNORE_INDEX

_log = logging.getLogger(__name__)


class _Drawing(NamedTuple):
    """An image's (height, width), and in the order of painting each object's class and run lengths, int32."""

    size: tuple[int, int]
    objects: list[tuple[int, npt.NDArray[np.int32]]]


class CocoMasks(MaskTable[_Drawing]):
    """Masks painted from polygons and run-length masks, the largest object first, so that small ones stay visible.

    Pixels of no object, and of categories that belong to no class, are class 0: the background. Crowds are painted as
    255, in the same order. Images without annotations are all background.

    Args:
        root: the data set's folder.
        split: names the two defaults below.
        annotations: the json, relative to ``root``, ``{split}`` in it standing for the split; by default
            ``annotations/instances_{split}.json``, or ``{split}/_annotations.coco.json`` as Roboflow exports it.
            COCO-stuff's ``annotations/stuff_{split}.json`` is one, too.
        images: their folder, likewise; by default ``{split}``, else ``images/{split}``, and with ``annotations`` the
            json's own folder before these, if the images are in it.
        class_names: the K classes, background first; by default "background" and all categories of the json.
        class_map: category -> class, where they are not called the same.
        palette: RGB of each class for images; None takes the default colours.
        bad_images: ``error`` stops where an image is missing or damaged; ``skip`` leaves it out, and says how many.
        limit: only the first so many images of the file.

    Attributes:
        class_names: K names.
        palette: as given.
        skipped_images: images left out by ``bad_images='skip'``.

    Raises:
        FileNotFoundError: the json or images are missing.
        ValueError: the json or an option is not valid, or an object has no outline; the message says which.
    """

    labels_name_classes = True

    def __init__(
        self,
        *,
        root: str | Path,
        split: str = "train2017",
        annotations: str | Path | None = None,
        images: str | Path | None = None,
        class_names: Sequence[str] | None = None,
        class_map: Mapping[str, str] | None = None,
        palette: Sequence[Sequence[int]] | None = None,
        bad_images: BadImages = "error",
        limit: int | None = None,
    ) -> None:
        content = read_instances(Path(root), split, annotations, images)
        names = class_names if class_names is not None else ("background", *content.class_names)
        classes = checked_class_names(names)
        rgb = checked_palette(palette, len(classes))
        if classes[0] != "background" and classes[0] in content.class_names:
            raise ValueError(
                f"class_names begins with {classes[0]!r}, a category of {content.file}, but class 0 is "
                f"that of all pixels without an object: class_names=[background,{classes[0]},...]."
            )
        found = classes_of_categories(content.file, content.class_names, classes, class_map or {})
        label_of = {content.category_ids[k]: label for k, label in found.items()}
        usable = usable_images(content.file, content.paths, bad_images=bad_images, limit=limit)
        with ThreadPoolExecutor() as pool:
            sizes = list(pool.map(lambda i: _upright_size(content, i, bad_images), usable))
        rows = _rows_of(content, label_of)
        super().__init__(
            source=content.file,
            class_names=classes,
            palette=rgb,
            image_ids=[content.images[i]["id"] for i in usable],
            paths=[content.paths[i] for i in usable],
            masks=[
                _drawing(content.file, rows.get(content.images[i]["id"], []), size, label_of)
                for i, size in zip(usable, sizes, strict=True)
            ],
            read=_paint,
            check=False,  # sizes are, and labels are right by construction
        )
        self.skipped_images = len(content.paths[:limit]) - len(usable)


def _paint(drawing: _Drawing) -> Mask:
    height, width = drawing.size
    painted = np.zeros(width * height, np.uint8)
    for label, runs in drawing.objects:
        paint_runs(painted, runs, label)
    return np.ascontiguousarray(painted.reshape(width, height).T)


def _rows_of(content: CocoInstances, label_of: Mapping[int, int]) -> dict[int, list[dict[str, Any]]]:
    """Image's id -> its annotations that have a class.

    Raises:
        ValueError: some of them have no outline.
    """
    chosen: dict[int, list[dict[str, Any]]] = {}
    without = []
    empty = 0
    for row in content.annotations:
        if row["category_id"] in label_of:
            if has_outline(row.get("segmentation")):
                chosen.setdefault(row["image_id"], []).append(row)
            elif min(row["bbox"][2:]) > 0:
                without.append(row["id"])
            else:
                empty += 1
    if without:
        raise ValueError(
            f"{content.file}: {len(without)} annotations have a box, but no 'segmentation': "
            f"{', '.join(map(str, without[:5]))}{', ...' if len(without) > 5 else ''}. Their pixels would count as "
            "background: outline them by three corners or more, or remove their images."
        )
    if empty:
        _log.warning("%s: dropped %d objects whose box and outline have no area.", content.file, empty)
    return chosen


def _drawing(
    file: Path, rows: Sequence[dict[str, Any]], size: tuple[int, int], label_of: Mapping[int, int]
) -> _Drawing:
    """The objects of one image, largest first."""
    objects = []
    for row in rows:
        if isinstance(row["segmentation"], list):
            runs = _runs_of_polygons(row["segmentation"], size)
        else:
            check_rle(file, row, size)  # again, for images whose size the file does not tell
            counts = row["segmentation"]["counts"]
            runs = (decoded_runs(counts) or []) if isinstance(counts, str) else counts
        label = IGNORE_INDEX if row.get("iscrowd") else label_of[row["category_id"]]
        objects.append((label, np.array(runs, np.int32)))
    areas = [int(runs[1::2].sum()) for _, runs in objects]
    return _Drawing(size, [objects[i] for i in sorted(range(len(objects)), key=lambda i: -areas[i])])


def _runs_of_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> list[int]:
    from pycocotools import mask

    # Fewer than three corners enclose nothing; and four numbers pycocotools would take for a box.
    outlines = [polygon for polygon in polygons if len(polygon) >= 6]
    if not outlines:
        return []
    # Not its decode(): that warns of numpy 2, and makes a whole image of every object.
    return decoded_runs(mask.merge(mask.frPyObjects(outlines, *size))["counts"].decode()) or []


def _upright_size(content: CocoInstances, index: int, bad_images: BadImages) -> tuple[int, int]:
    """The image's (height, width); an error if the file describes one of another size.

    A size recorded before EXIF rotation is not another: outlines are drawn on what a browser shows, upright.
    """
    path, recorded = content.paths[index], recorded_size(content.images[index])
    size = size_of_listed(path, bad_images)
    if bad_images != "keep" and recorded is not None and recorded not in (size, size[::-1]):
        raise ValueError(
            f"{path}: the image is {size[1]}x{size[0]}, but {content.file} describes one of "
            f"{recorded[1]}x{recorded[0]}, so its outlines would be misplaced. Use the images "
            "that were annotated, at their size."
        )
    return size
