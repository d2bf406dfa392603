"""A folder of images beside a folder of masks; CamVid is one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

from mnv2dense.data.datasets.columns import Paths
from mnv2dense.data.datasets.image_list import BadImages, for_split
from mnv2dense.data.datasets.mask_png import MaskRules, checked_class_names, checked_palette
from mnv2dense.data.datasets.mask_table import MaskTable
from mnv2dense.io.reading import list_images
from mnv2dense.types import IGNORE_INDEX
from mnv2dense.utils.numbers import is_whole

_log = logging.getLogger(__name__)

# Where images and masks of a split lie, by the customs there are.
_LAYOUTS = (
    ("{split}", "{split}annot"),
    ("images/{split}", "masks/{split}"),
    ("images/{split}", "labels/{split}"),
    ("{split}/images", "{split}/masks"),
    ("{split}/images", "{split}/labels"),
)


@final
class MaskFolder(MaskTable[Path]):
    """Images and PNG masks of the same names. All masks are read once at the start: wrong ones show before training.

    Args:
        root: the data set's folder.
        split: which part of it.
        class_names: the K classes, in the order of the masks' values.
        images: folder of the split's images, relative to ``root``; None tries CamVid's layout (``train``,
            ``trainannot``), ``images/train`` with ``masks/train``, and ``train/images`` with ``train/masks``.
        masks: folder of the split's masks.
        ignored: mask values that count nowhere, besides 255.
        values: mask value -> class, where masks are numbered otherwise; values it does not name are ignored.
        colors: [red, green, blue, class] of each colour, where masks are coloured images.
        palette: RGB of each class for images; None takes the default colours.
        limit: only the first so many images.
        bad_images: "error", or "skip" to leave out images and masks that are missing or damaged.

    Attributes:
        class_names: the K classes.
        palette: as given.
        image_ids: 1, 2, 3, ... in the order of names.

    Raises:
        FileNotFoundError: folders are missing, or images have no masks.
        ValueError: a mask that is wrong; the message names it.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        split: str,
        class_names: Sequence[str],
        images: str | None = None,
        masks: str | None = None,
        ignored: Sequence[int] = (),
        values: Mapping[int, int] | None = None,
        colors: Sequence[Sequence[int]] | None = None,
        palette: Sequence[Sequence[int]] | None = None,
        limit: int | None = None,
        bad_images: BadImages = "error",
    ) -> None:
        image_folder, mask_folder = _folders(Path(root), split, images, masks)
        classes = checked_class_names(class_names)
        rgb = checked_palette(palette, len(classes))
        rules = MaskRules(
            class_count=len(classes),
            ignored=_ignored(ignored),
            values=None if values is None else _values(values),
            colors=None if colors is None else _colors(colors),
            options=frozenset({"ignored", "values", "colors", "class_names"}),
        ).checked()
        pictures = list_images(image_folder)
        by_stem = {path.stem: path for path in list_images(mask_folder)}
        if single := by_stem.keys() - {path.stem for path in pictures}:
            example = by_stem[min(single)].name
            _log.warning("%s: %d masks have no image, such as %s.", mask_folder, len(single), example)
        super().__init__(
            source=mask_folder,
            class_names=classes,
            palette=rgb,
            image_ids=range(1, len(pictures) + 1),
            paths=Paths.below(image_folder, pictures),
            masks=Paths.below(
                mask_folder, (by_stem.get(path.stem, mask_folder / f"{path.stem}.png") for path in pictures)
            ),
            rules=rules,
            bad_images=bad_images,
            limit=limit,
        )
        if bad_images != "keep" and len(labels := self.shown - {IGNORE_INDEX}) < 2:
            _log.warning(
                "%s: all pixels are %s, so there is nothing to tell apart. If classes are stored as 255 or other "
                "numbers, say which: values={0: 0, 255: 1}, and name the background too, as in "
                "class_names=[background,thing].",
                mask_folder,
                " or ".join([*(f"class {self.class_names[label]!r}" for label in labels), "ignored"]),
            )


def _ignored(given: Sequence[int]) -> tuple[int, ...]:
    try:
        return tuple(_whole(value) for value in given)
    except TypeError as error:
        raise ValueError(f"ignored={given}: a list of mask values is needed, as in ignored=[11].") from error


def _values(given: Mapping[int, int]) -> dict[int, int]:
    try:
        return {_whole(value): _whole(label) for value, label in given.items()}
    except (AttributeError, TypeError) as error:
        raise ValueError(
            f"values={given}: mask values and the numbers of their classes are needed, as in values={{0:0,255:1}}."
        ) from error


def _colors(given: Sequence[Sequence[int]]) -> dict[tuple[int, int, int], int]:
    try:
        rows = [[_whole(value) for value in row] for row in given]
    except TypeError:
        rows = []
    if not rows or any(len(row) != 4 for row in rows):
        raise ValueError(
            f"colors={given}: red, green, blue and the number of the class are needed for each colour, as in "
            "colors=[[128,64,128,0],[70,70,70,1]]."
        )
    return {(red, green, blue): label for red, green, blue, label in rows}


def _whole(value: object) -> int:
    if not is_whole(value):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _folders(root: Path, split: str, images: str | None, masks: str | None) -> tuple[Path, Path]:
    if not root.is_dir():
        raise FileNotFoundError(f"root={root}: no such folder (looked from {Path.cwd()}).")
    if (images is None) != (masks is None):
        raise ValueError(f"images={images} and masks={masks}: name both folders, or neither.")
    pairs = [(images, masks)] if images is not None and masks is not None else _LAYOUTS
    for first, second in pairs:
        found = root / for_split(first, split), root / for_split(second, split)
        if found[0].is_dir() and found[1].is_dir():
            return found
    tried = for_split("; ".join(f"{first} with {second}" for first, second in pairs), split)
    raise FileNotFoundError(
        f"{root}: no folders of images and masks for split {split!r}. Looked for {tried}. Name them with images= "
        "and masks=; {split} in them stands for the split."
    )
