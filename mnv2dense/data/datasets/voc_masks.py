"""PASCAL VOC segmentation: palette PNGs of 21 classes, their borders ignored (VOC 2012 development kit, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import final

from mnv2dense.data.datasets.columns import Names, Paths
from mnv2dense.data.datasets.image_list import BadImages, ids_from_stems
from mnv2dense.data.datasets.mask_png import MaskRules, checked_class_names
from mnv2dense.data.datasets.mask_table import MaskTable
from mnv2dense.data.datasets.voc_folder import image_paths, listed_names, voc_folder
from mnv2dense.types.class_lists import VOC_MASK_CLASSES, voc_palette


@final
class VocMasks(MaskTable[Path]):
    """``SegmentationClass/*.png`` of the images that ``ImageSets/Segmentation/{split}.txt`` names.

    The 10,582 images of ``trainaug`` (VOC 2012 and the outlines of Hariharan et al. 2011) are read with
    ``split="trainaug", masks="SegmentationClassAug"``. Every mask is read once before training.

    Args:
        root: the ``VOCdevkit``, its ``VOC{year}``, or any folder that holds ``JPEGImages`` and the two above.
        year: which ``VOC{year}`` of a devkit.
        split: reads ``ImageSets/Segmentation/{split}.txt``, one image name a line.
        masks: the masks' folder.
        class_names: the K classes; class k is value k, 255 ignored.
        bad_images: ``error`` stops where an image or mask is missing or damaged; ``skip`` leaves it out.
        limit: only the first so many images of the split.

    Attributes:
        class_names: K names.
        palette: VOC's own colours.
        image_ids: the numbers that the files are named by, where all are; else 1, 2, 3, ... in order.

    Raises:
        FileNotFoundError: a folder, list, image or mask is missing.
        ValueError: a mask is wrong; the message names it.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        year: str | int = "2012",
        split: str = "train",
        masks: str = "SegmentationClass",
        class_names: Sequence[str] | None = None,
        bad_images: BadImages = "error",
        limit: int | None = None,
    ) -> None:
        classes = checked_class_names(VOC_MASK_CLASSES if class_names is None else class_names)
        rgb = voc_palette(len(classes))
        folder = voc_folder(Path(root), str(year), masks)
        names = listed_names(folder, "Segmentation", split)
        paths = image_paths(folder / "JPEGImages", names)
        super().__init__(
            source=folder / masks,
            class_names=classes,
            palette=rgb,
            image_ids=ids_from_stems(paths),
            paths=paths,
            masks=Paths(folder / masks, Names.of(f"{name}.png" for name in names)),
            rules=MaskRules(len(classes), options=frozenset({"class_names"})),
            bad_images=bad_images,
            limit=limit,
        )
