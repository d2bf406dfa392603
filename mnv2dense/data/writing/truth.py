"""The boxes of a data set of any format, whole, as the writers of formats take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.box_table import BoxTable, Objects
from mnv2dense.data.datasets.coco import CocoDetection
from mnv2dense.data.datasets.coco_json import load_json
from mnv2dense.data.datasets.columns import Paths
from mnv2dense.data.datasets.image_list import size_of_listed
from mnv2dense.data.writing.names import names_of
from mnv2dense.protocols import BoxDataset, OpensImages
from mnv2dense.utils.cores import usable_cores


class CocoRows(NamedTuple):
    """What a COCO json says beyond boxes, to be handed on to another.

    Attributes:
        images: id -> its row.
        annotations: id -> its row.
        categories: id -> its row.
        others: what stands beside the three lists, such as licenses.
    """

    images: Mapping[int, dict[str, Any]]
    annotations: Mapping[int, dict[str, Any]]
    categories: Mapping[int, dict[str, Any]]
    others: Mapping[str, Any]


class BoxTruth(NamedTuple):
    """P images and their T boxes.

    Attributes:
        source: where they were read from, for messages.
        class_names: K names.
        category_ids: K ids, by label.
        image_ids: P unique ids.
        names: P names of image files, as posix spells them, below one folder.
        paths: P image files.
        sizes: int64 [P, 2], (height, width) of the upright images, pixels.
        objects: the boxes as their format had them, sorted by images; they may stick out of their image.
        coco: what only COCO knows, where they come from there.
        dropped: boxes that are not here, because nothing of them lay inside their image.
    """

    source: str
    class_names: tuple[str, ...]
    category_ids: list[int]
    image_ids: list[int]
    names: list[str]
    paths: list[Path]
    sizes: npt.NDArray[np.int64]
    objects: Objects
    coco: CocoRows | None = None
    dropped: int = 0

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """int64 [P + 1]: the objects of image i are those from ``starts[i]`` to ``starts[i + 1]``."""
        return np.searchsorted(self.objects.images, np.arange(len(self.paths) + 1))

    def clipped(self) -> npt.NDArray[np.float64]:
        """Xyxy [T, 4] within their images, pixels."""
        boxes = self.objects.boxes
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        frames = self.sizes[self.objects.images][:, [1, 0, 1, 0]].astype(np.float64)
        return np.asarray(np.clip(corners, 0, frames), np.float64)

    def outside(self) -> int:
        """How many boxes stick out of their image by more than rounding."""
        boxes = self.objects.boxes
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        return int((np.abs(corners - self.clipped()) > 1e-3).any(axis=1).sum())

    def chosen(self, places: Sequence[int]) -> BoxTruth:
        """The images at these places, ascending, and their boxes."""
        return self._replace(
            image_ids=[self.image_ids[place] for place in places],
            names=[self.names[place] for place in places],
            paths=[self.paths[place] for place in places],
            sizes=self.sizes[list(places)],
            objects=self.objects.of_images(places) if places else self.objects.rows(np.zeros(0, np.int64)),
        )


def box_truth(dataset: BoxDataset) -> BoxTruth:
    """Everything that a data set says of its boxes; the header of every image is read.

    Raises:
        ValueError: an image is of another size than the boxes were drawn on.
        OSError: an image cannot be read.
    """
    if isinstance(dataset, BoxTable):
        objects, ids = dataset.objects, list(dataset.image_ids)
        paths: Sequence[Path] = dataset.paths
    else:
        content = dataset.coco_ground_truth()
        ids = [image["id"] for image in content["images"]]
        paths = [dataset.path_of(image_id) for image_id in ids]
        objects = _objects_of(content)
    names = names_of(paths)
    listed = paths if isinstance(paths, Paths) else list(paths)
    with ThreadPoolExecutor(usable_cores()) as pool:
        sizes = list(pool.map(lambda index: _size_of(dataset, listed, index), range(len(listed))))
    return BoxTruth(
        source=str(getattr(dataset, "source", type(dataset).__name__)),
        class_names=tuple(dataset.class_names),
        category_ids=list(dataset.category_ids),
        image_ids=ids,
        names=names,
        paths=list(listed),
        sizes=np.array(sizes, np.int64).reshape(-1, 2),
        objects=objects,
        coco=_rows_of(Path(dataset.source)) if isinstance(dataset, CocoDetection) else None,
        dropped=int(getattr(dataset, "dropped_boxes", 0)),
    )


def joined(truths: Sequence[BoxTruth]) -> BoxTruth:
    """Several of the same classes as one; ids are counted anew where they collide, names keep their order.

    Raises:
        ValueError: they are of other classes.
    """
    first, *others = truths
    if not others:
        return first
    for other in others:
        if other.class_names != first.class_names:
            raise ValueError(f"{other.source}: its classes are not those of {first.source}; convert them one by one.")
    images = np.concatenate(
        [truth.objects.images + start for truth, start in zip(truths, _starts(truths), strict=True)]
    )
    columns = [np.concatenate(parts) for parts in zip(*(truth.objects for truth in truths), strict=True)]
    objects = Objects(*columns)._replace(images=images)
    if len(np.unique(objects.ids)) < len(objects.ids):
        objects = objects._replace(ids=np.arange(1, len(objects.ids) + 1))
    image_ids = [image_id for truth in truths for image_id in truth.image_ids]
    if len(set(image_ids)) < len(image_ids):
        image_ids = list(range(1, len(image_ids) + 1))
    return first._replace(
        source=" and ".join(truth.source for truth in truths),
        image_ids=image_ids,
        names=[name for truth in truths for name in truth.names],
        paths=[path for truth in truths for path in truth.paths],
        sizes=np.concatenate([truth.sizes for truth in truths]),
        objects=objects,
        coco=_joined_rows(truths, image_ids, objects.ids.tolist()),
        dropped=sum(truth.dropped for truth in truths),
    )


def _joined_rows(truths: Sequence[BoxTruth], image_ids: list[int], object_ids: list[int]) -> CocoRows | None:
    """The rows of all under the ids that they have now; None where some are not from COCO."""
    rows = [truth.coco for truth in truths if truth.coco is not None]
    if len(rows) < len(truths):
        return None
    both = list(zip(truths, rows, strict=True))
    images = (each.images[before] for truth, each in both for before in truth.image_ids)
    annotations = (each.annotations[before] for truth, each in both for before in truth.objects.ids.tolist())
    return CocoRows(
        dict(zip(image_ids, images, strict=True)),
        dict(zip(object_ids, annotations, strict=True)),
        rows[0].categories,
        rows[0].others,
    )


def _starts(truths: Sequence[BoxTruth]) -> list[int]:
    return np.cumsum([0, *(len(truth.paths) for truth in truths[:-1])]).tolist()  # type: ignore[no-any-return]  # numpy says Any


def _size_of(dataset: BoxDataset, paths: Sequence[Path], index: int) -> tuple[int, int]:
    """(height, width) of the upright image; a data set that opens images compares it with its annotations, too."""
    if isinstance(dataset, OpensImages):
        return dataset.opened(index)[1].size
    return size_of_listed(paths[index])


def _objects_of(content: Mapping[str, Any]) -> Objects:
    image_of = {image["id"]: index for index, image in enumerate(content["images"])}
    label_of = {category["id"]: label for label, category in enumerate(content["categories"])}
    rows = content["annotations"]
    objects = Objects(
        images=np.array([image_of[row["image_id"]] for row in rows], np.int64),
        boxes=np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4),
        labels=np.array([label_of[row["category_id"]] for row in rows], np.int64),
        ignored=np.array([bool(row["iscrowd"]) for row in rows], np.bool_),
        areas=np.array([row["area"] for row in rows], np.float64),
        ids=np.array([row["id"] for row in rows], np.int64),
    )
    return objects.rows(np.argsort(objects.images, kind="stable"))


def _rows_of(file: Path) -> CocoRows:
    """The json once more, whole: the data set keeps of it what training needs."""
    content = load_json(file)
    others = {key: value for key, value in content.items() if key not in ("images", "annotations", "categories")}
    return CocoRows(
        {row["id"]: row for row in content["images"]},
        {row["id"]: row for row in content["annotations"]},
        {row["id"]: row for row in content["categories"]},
        others,
    )
