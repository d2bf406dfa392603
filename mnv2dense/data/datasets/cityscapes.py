"""Cityscapes: streets of 50 cities, 19 of its 34 labels to be learnt (Cordts et al. 2016, section 3.1)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, final

from mnv2dense.data.datasets.columns import Paths
from mnv2dense.data.datasets.image_list import BadImages
from mnv2dense.data.datasets.mask_png import MaskRules
from mnv2dense.data.datasets.mask_table import MaskTable
from mnv2dense.io.reading import is_macos
from mnv2dense.types.class_lists import Palette


class _Label(NamedTuple):
    name: str
    value: int
    color: tuple[int, int, int]


_LABELS = (
    _Label("road", 7, (128, 64, 128)),
    _Label("sidewalk", 8, (244, 35, 232)),
    _Label("building", 11, (70, 70, 70)),
    _Label("wall", 12, (102, 102, 156)),
    _Label("fence", 13, (190, 153, 153)),
    _Label("pole", 17, (153, 153, 153)),
    _Label("traffic light", 19, (250, 170, 30)),
    _Label("traffic sign", 20, (220, 220, 0)),
    _Label("vegetation", 21, (107, 142, 35)),
    _Label("terrain", 22, (152, 251, 152)),
    _Label("sky", 23, (70, 130, 180)),
    _Label("person", 24, (220, 20, 60)),
    _Label("rider", 25, (255, 0, 0)),
    _Label("car", 26, (0, 0, 142)),
    _Label("truck", 27, (0, 0, 70)),
    _Label("bus", 28, (0, 60, 100)),
    _Label("train", 31, (0, 80, 100)),
    _Label("motorcycle", 32, (0, 0, 230)),
    _Label("bicycle", 33, (119, 11, 32)),
)
CITYSCAPES_CLASSES = tuple(label.name for label in _LABELS)
CITYSCAPES_PALETTE: Palette = tuple(label.color for label in _LABELS)

# Ids 0..33 that count for nothing: the vehicle itself, parking, caravans ... Number plates, -1, are 255 in the files.
_IGNORED = tuple(sorted(set(range(34)) - {label.value for label in _LABELS}))


@final
class CityscapesMasks(MaskTable[Path]):
    """``leftImg8bit/{split}/{city}/*_leftImg8bit.png`` and ``gtFine/{split}/{city}/*_gtFine_labelIds.png``.

    Every mask is read once before training.

    Args:
        root: the folder of ``leftImg8bit`` and ``gtFine``.
        split: ``train`` or ``val``; the masks of ``test`` are not public.
        annotations: ``gtFine``, or ``gtCoarse``, which has ``train_extra``, too.
        bad_images: ``error`` stops where an image or mask is missing or damaged; ``skip`` leaves it out.
        limit: only the first so many images.

    Attributes:
        class_names: :data:`CITYSCAPES_CLASSES`.
        palette: the colours of Cityscapes.
        image_ids: 1, 2, 3, ... in the order of cities and names.

    Raises:
        FileNotFoundError: the folders or files are missing.
        ValueError: a mask is wrong; the message names it.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        split: str = "train",
        annotations: str = "gtFine",
        bad_images: BadImages = "error",
        limit: int | None = None,
    ) -> None:
        images_folder, masks_folder = Path(root) / "leftImg8bit" / split, Path(root) / annotations / split
        images = sorted(path for path in images_folder.glob("*/*_leftImg8bit.png") if not is_macos(path))
        if not images or not masks_folder.is_dir():
            raise FileNotFoundError(
                f"{root}: no images {images_folder}/*/*_leftImg8bit.png, or no folder {masks_folder} (looked from "
                f"{Path.cwd()}). Set root= to the folder of leftImg8bit and {annotations}."
            )
        names = [image.name.removesuffix("_leftImg8bit.png") for image in images]
        values = {label.value: k for k, label in enumerate(_LABELS)}
        rules = MaskRules(len(_LABELS), ignored=_IGNORED, values=values, ignore_others=False)
        super().__init__(
            source=masks_folder,
            class_names=CITYSCAPES_CLASSES,
            palette=CITYSCAPES_PALETTE,
            image_ids=range(1, len(images) + 1),
            paths=Paths.below(images_folder, images),
            masks=Paths.below(
                masks_folder,
                (
                    masks_folder / image.parent.name / f"{name}_{annotations}_labelIds.png"
                    for image, name in zip(images, names, strict=True)
                ),
            ),
            rules=rules,
            bad_images=bad_images,
            limit=limit,
        )
