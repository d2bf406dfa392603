"""The embedded shapes with the class of every pixel."""

from __future__ import annotations

from pathlib import Path
from typing import final

from mnv2dense.class_lists import Palette
from mnv2dense.data.datasets.coco_masks import CocoMasks
from mnv2dense.data.datasets.mask_png import Mask
from mnv2dense.data.shapes.detection import Shapes
from mnv2dense.types import Sample


@final
class ShapeMasks:
    """Class 0 is the background, 1..6 what shows of the shapes of :class:`~mnv2dense.data.shapes.detection.Shapes`.

    Args:
        split: ``train`` or ``val``.
        root: see :class:`~mnv2dense.data.shapes.detection.Shapes`, as the rest.
        seed: of the pictures.
        train_images: how many to train on.
        val_images: how many to validate on.
        limit: only the first so many pictures.

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
        shapes = Shapes(split=split, root=root, seed=seed, train_images=train_images, val_images=val_images)
        # Drawn as a COCO data set: its segmentations are the visible pixels.
        folder = shapes.path_of(shapes[0].image_id).parent.parent
        self._masks = CocoMasks(root=folder, split=split, limit=limit)
        self.class_names = self._masks.class_names
        self.palette: Palette | None = None

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, index: int) -> Sample:
        return self._masks[index]

    def path_of(self, image_id: int) -> Path:
        """Where the picture with this id lies."""
        return self._masks.path_of(image_id)

    def mask_of(self, image_id: int) -> Mask:
        """The true classes of the picture with this id: uint8 [H, W]."""
        return self._masks.mask_of(image_id)
