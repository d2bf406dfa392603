"""The embedded shapes with the class of every pixel."""

from __future__ import annotations

from pathlib import Path
from typing import final

from mnv2dense.data.datasets.coco_masks import CocoMasks
from mnv2dense.data.shapes.detection import shapes_folder


@final
class ShapeMasks(CocoMasks):
    """Class 0 is the background, 1..6 what shows of the shapes of :class:`~mnv2dense.data.shapes.detection.Shapes`.

    Args:
        split: ``train`` or ``val``.
        root: see :class:`~mnv2dense.data.shapes.detection.Shapes`, as the rest.
        seed: of the images.
        train_images: how many to train on.
        val_images: how many to validate on.
        limit: only the first so many images.

    Attributes:
        class_names: "background" and the six kinds of shapes.
        palette: None: the default colours.
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
        # Drawn as a COCO data set: its segmentations are the visible pixels.
        folder = shapes_folder(root, split=split, seed=seed, train_images=train_images, val_images=val_images)
        super().__init__(root=folder, split=split, limit=limit)
