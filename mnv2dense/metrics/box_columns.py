"""Boxes of many images as columns, the found and the true: scores are computed from them, not from a dict for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mnv2dense.protocols import GivesBoxColumns
from mnv2dense.types import BoxColumns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from mnv2dense.protocols import BoxDataset


class FoundBoxes(NamedTuple):
    """N boxes that were found in P images.

    Attributes:
        images: int64 [N], ascending: the place of the image, 0..P-1. The places follow the images' ids.
        boxes: float64 [N, 4], xyxy in pixels of the image.
        labels: int64 [N], 0..K-1.
        scores: float64 [N]; the boxes of an image may come in any order.
    """

    images: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]

    @classmethod
    def of_tables(cls, tables: Sequence[npt.NDArray[np.float32]], images: Sequence[int]) -> FoundBoxes:
        """Those of several images, each float32 [n, 6] (x1, y1, x2, y2, score, label), at their ascending places."""
        table = np.concatenate([*tables, np.zeros((0, 6), np.float32)]).astype(np.float64)
        places = np.repeat(np.asarray(images, np.int64), [len(each) for each in tables])
        return cls(places, table[:, :4], table[:, 5].astype(np.int64), table[:, 4])

    def where(self, chosen: npt.NDArray[np.bool_]) -> FoundBoxes:
        """Some of them, bool [N]."""
        return FoundBoxes(self.images[chosen], self.boxes[chosen], self.labels[chosen], self.scores[chosen])

    @property
    def xywh(self) -> npt.NDArray[np.float64]:
        """The boxes as COCO has them, [N, 4]."""
        return np.concatenate([self.boxes[:, :2], self.boxes[:, 2:] - self.boxes[:, :2]], axis=1)


class TrueBoxes(NamedTuple):
    """M objects of P images; those of an image together, in the order in which the data set has them.

    Attributes:
        image_ids: int64 [P], ascending, of all images, also of those without objects.
        images: int64 [M], ascending: places in ``image_ids``.
        boxes: float64 [M, 4], COCO's x, y, width, height, as the data set has them: the scores go by these to the bit.
        labels: int64 [M], 0..K-1.
        areas: float64 [M], square pixels; what COCO's small, medium and large go by.
        crowds: bool [M], regions to ignore.
        starts: int64 [P + 1], those of image p are ``starts[p]`` up to ``starts[p + 1]``.
    """

    image_ids: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    areas: npt.NDArray[np.float64]
    crowds: npt.NDArray[np.bool_]
    starts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, dataset: BoxDataset) -> TrueBoxes:
        """The truth of a data set: its columns where it gives them, else those of its COCO dict.

        Raises:
            ValueError: the dict has other categories than the data set says.
        """
        if isinstance(dataset, GivesBoxColumns):
            return cls.of_columns(dataset.box_columns())
        return cls.of_columns(_columns(dataset.coco_ground_truth(), dataset.category_ids))

    @classmethod
    def of_columns(cls, columns: BoxColumns) -> TrueBoxes:
        """The same boxes, by the images' ids."""
        order = np.argsort(columns.image_ids, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        images = place[columns.images]
        rows = np.argsort(images, kind="stable")
        images = images[rows]
        return cls(
            columns.image_ids[order],
            images,
            columns.boxes[rows],
            columns.labels[rows],
            columns.areas[rows],
            columns.crowds[rows],
            np.searchsorted(images, np.arange(len(order) + 1)),
        )

    def of_image(self, place: int) -> TrueBoxes:
        """Those of one image, which is the only one of the result."""
        rows = slice(self.starts[place], self.starts[place + 1])
        images = np.zeros(rows.stop - rows.start, np.int64)
        return TrueBoxes(
            self.image_ids[place : place + 1],
            images,
            self.boxes[rows],
            self.labels[rows],
            self.areas[rows],
            self.crowds[rows],
            np.array([0, len(images)]),
        )

    @property
    def corners(self) -> npt.NDArray[np.float64]:
        """The boxes as xyxy, [M, 4]."""
        return np.concatenate([self.boxes[:, :2], self.boxes[:, :2] + self.boxes[:, 2:]], axis=1)


def of_every(step: int, found: FoundBoxes, truth: TrueBoxes) -> tuple[FoundBoxes, TrueBoxes]:
    """What there is in every so many images, by their places; 1 is all."""
    chosen = truth.images % step == 0
    images = truth.images[chosen] // step
    image_ids = truth.image_ids[::step]
    some = found.where(found.images % step == 0)
    return some._replace(images=some.images // step), TrueBoxes(
        image_ids,
        images,
        truth.boxes[chosen],
        truth.labels[chosen],
        truth.areas[chosen],
        truth.crowds[chosen],
        np.searchsorted(images, np.arange(len(image_ids) + 1)),
    )


def _columns(truth: Mapping[str, Any], category_ids: Sequence[int]) -> BoxColumns:
    """COCO's dict as columns; annotations of images that it does not list are left out, as pycocotools does."""
    listed = [int(category["id"]) for category in truth["categories"]]
    if listed != list(category_ids):
        raise ValueError(
            f"coco_ground_truth() has the categories {listed}, and category_ids are {list(category_ids)}; "
            "both must list one category per label, in label order."
        )
    image_ids = np.array([int(image["id"]) for image in truth["images"]], np.int64)
    place = {image_id: index for index, image_id in enumerate(image_ids.tolist())}
    label_of = {category_id: label for label, category_id in enumerate(listed)}
    rows = [row for row in truth["annotations"] if int(row["image_id"]) in place]
    return BoxColumns(
        image_ids,
        np.array([place[int(row["image_id"])] for row in rows], np.int64),
        np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4),
        np.array([label_of[row["category_id"]] for row in rows], np.int64),
        np.array([bool(row["iscrowd"]) for row in rows], np.bool_),
        np.array([row["area"] for row in rows], np.float64),
    )
