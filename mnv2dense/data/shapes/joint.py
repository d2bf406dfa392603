"""The embedded shapes with boxes and the class of every pixel."""

from __future__ import annotations

from pathlib import Path
from typing import final

from mnv2dense.data.datasets.joint import JointDataset
from mnv2dense.data.shapes.detection import Shapes
from mnv2dense.data.shapes.segmentation import ShapeMasks


@final
class ShapesWithMasks(JointDataset):
    """The images of :class:`~mnv2dense.data.shapes.detection.Shapes`, with "boxes" and "masks".

    Args:
        split: ``train`` or ``val``.
        root: see :class:`~mnv2dense.data.shapes.detection.Shapes`, as the rest.
        seed: of the images.
        train_images: how many to train on.
        val_images: how many to validate on.
        limit: only the first so many images.
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
        def drawn(kind: type[Shapes | ShapeMasks]) -> Shapes | ShapeMasks:
            return kind(
                split=split, root=root, seed=seed, train_images=train_images, val_images=val_images, limit=limit
            )

        super().__init__(parts={"boxes": drawn(Shapes), "masks": drawn(ShapeMasks)})
