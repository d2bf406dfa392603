"""The embedded shapes with the class of every pixel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, final

import numpy as np

from mnv2dense.class_lists import Palette
from mnv2dense.data.masks import Mask
from mnv2dense.data.shapes import Shapes
from mnv2dense.types import Sample


@final
class ShapeMasks:
    """Class 0 is the background, 1..6 what shows of the shapes of :class:`~mnv2dense.data.shapes.Shapes`.

    Args:
        split: ``train`` or ``val``.
        root: see :class:`~mnv2dense.data.shapes.Shapes`, as the rest.
        seed: of the pictures.
        train_pictures: how many to train on.
        val_pictures: how many to validate on.
        limit: only the first so many pictures.

    Attributes:
        class_names: "background" and the six kinds of shapes.
        palette: None; the house's own colours.
    """

    def __init__(
        self,
        *,
        split: str = "train",
        root: str | Path | None = None,
        seed: int = 0,
        train_pictures: int = 1200,
        val_pictures: int = 200,
        limit: int | None = None,
    ) -> None:
        self._shapes = Shapes(
            split=split, root=root, seed=seed, train_pictures=train_pictures, val_pictures=val_pictures, limit=limit
        )
        self.class_names = ("background", *self._shapes.class_names)
        self.palette: Palette | None = None
        truth = self._shapes.coco_ground_truth()
        self._sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
        self._label_of = {category["id"]: label for label, category in enumerate(truth["categories"], start=1)}
        self._drawn: dict[int, list[tuple[int, list[int]]]] = {image_id: [] for image_id in self._sizes}
        for row in _segmentations(self._shapes.path_of(next(iter(self._sizes))), split):
            if row["image_id"] in self._drawn:
                drawn = self._label_of[row["category_id"]], row["segmentation"]["counts"]
                self._drawn[row["image_id"]].append(drawn)

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, index: int) -> Sample:
        sample = self._shapes[index]
        return sample._replace(boxes=None, labels=None, mask=self.mask_of(sample.image_id))

    def path_of(self, image_id: int) -> Path:
        """Where the picture with this id lies."""
        return self._shapes.path_of(image_id)

    def mask_of(self, image_id: int) -> Mask:
        """The true classes of the picture with this id: uint8 [H, W]."""
        height, width = self._sizes[image_id]
        mask = np.zeros(height * width, np.uint8)
        for label, counts in self._drawn[image_id]:
            # Runs go down the columns, and every second one, from the second on, is of the shape.
            ends = np.cumsum(counts)
            for start, end in zip(ends[0::2], ends[1::2], strict=False):
                mask[start:end] = label
        return np.ascontiguousarray(mask.reshape(width, height).T)


def _segmentations(picture: Path, split: str) -> list[dict[str, Any]]:
    """The rows of the annotations that were drawn with the pictures; boxes alone came through the COCO reader."""
    file = picture.parent.parent / "annotations" / f"instances_{split}.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["annotations"]
    return rows
