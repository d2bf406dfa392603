"""The embedded shapes, cut out one by one: images to classify."""

from __future__ import annotations

import math
from pathlib import Path
from typing import final

import numpy as np

from mnv2dense.data.datasets.image_table import ImageTable
from mnv2dense.data.shapes.detection import Shapes
from mnv2dense.types import Sample

# Of a crop's side to its shape's longer side: some background on every side, as a photographer leaves it.
_CONTEXT = 1.25
# Shorter sides are mere slivers of what another shape hides.
_SMALLEST_SIDE_PX = 16


@final
class ShapeCrops(ImageTable):
    """A square around every shape of :class:`~mnv2dense.data.shapes.detection.Shapes` that shows well, with its class.

    Args:
        split: ``train`` or ``val``.
        root: see :class:`~mnv2dense.data.shapes.detection.Shapes`, as the next three.
        seed: of the images.
        train_images: that the crops are cut from; there are about three times as many crops.
        val_images: the same to validate on.
        limit: only the first so many crops.

    Attributes:
        class_names: the six kinds of shapes.
        image_ids: 1, 2, 3, ..., one a crop.
        paths: the image that each crop is cut from.
    """

    def __init__(
        self,
        *,
        split: str = "train",
        root: str | Path | None = None,
        seed: int = 0,
        train_images: int = 1200,
        val_images: int = 200,
        limit: int | None = None,
    ) -> None:
        shapes = Shapes(split=split, root=root, seed=seed, train_images=train_images, val_images=val_images)
        truth = shapes.coco_ground_truth()
        index_of = {image["id"]: index for index, image in enumerate(truth["images"])}
        label_of = {category["id"]: label for label, category in enumerate(truth["categories"])}
        rows = [row for row in truth["annotations"] if min(row["bbox"][2:]) >= _SMALLEST_SIDE_PX][:limit]
        self._crops = [(row["bbox"], label_of[row["category_id"]]) for row in rows]
        super().__init__(
            source=shapes.source,
            class_names=shapes.class_names,
            image_ids=range(1, len(self._crops) + 1),
            paths=[shapes.paths[index_of[row["image_id"]]] for row in rows],
        )

    def __getitem__(self, index: int) -> Sample:
        index = self._place(index)
        (left, top, width, height), label = self._crops[index]
        image = self.opened_image(index).decode(1)[0]
        rows, columns = image.shape[:2]
        side = math.floor(min(_CONTEXT * max(width, height), rows, columns))
        x = round(min(max(left + width / 2 - side / 2, 0), columns - side))
        y = round(min(max(top + height / 2 - side / 2, 0), rows - side))
        crop = image[y : y + side, x : x + side]
        labels = np.array([label], np.int64)
        return Sample(np.ascontiguousarray(crop), None, labels, None, self.image_ids[index], self.paths[index])
