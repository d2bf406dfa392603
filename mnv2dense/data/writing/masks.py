"""Masks as PNG files: ``images/<split>`` and ``masks/<split>``, or VOC's ``JPEGImages`` and ``SegmentationClass``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np

from mnv2dense.data.datasets.mask_png import Mask
from mnv2dense.data.writing.names import FreeNames, names_of
from mnv2dense.data.writing.notes import Note
from mnv2dense.data.writing.placing import Placing, place_images
from mnv2dense.protocols import MaskDataset
from mnv2dense.types.class_lists import VOC_MASK_CLASSES, Palette, voc_palette
from mnv2dense.utils.cores import usable_cores

Layout = Literal["mask_folder", "voc_masks"]


class MaskTruth(NamedTuple):
    """P images of a data set of masks.

    Attributes:
        dataset: gives the masks.
        class_names: K names.
        image_ids: P ids.
        names: P names of image files, as posix spells them, below one folder.
        paths: P image files.
    """

    dataset: MaskDataset
    class_names: tuple[str, ...]
    image_ids: list[int]
    names: list[str]
    paths: list[Path]

    def chosen(self, places: list[int]) -> MaskTruth:
        """The images at these places."""
        return self._replace(
            image_ids=[self.image_ids[place] for place in places],
            names=[self.names[place] for place in places],
            paths=[self.paths[place] for place in places],
        )


def mask_truth(dataset: MaskDataset) -> MaskTruth:
    """The images of a data set, whose masks are read when they are written."""
    ids = [int(image_id) for image_id in dataset.image_ids]  # type: ignore[attr-defined]  # of every table of images
    paths = [dataset.path_of(image_id) for image_id in ids]
    return MaskTruth(dataset, tuple(dataset.class_names), ids, names_of(paths), paths)


def write_masks(
    folder: Path,
    splits: Mapping[str, list[MaskTruth]],
    *,
    layout: Layout,
    images: Placing,
    told: Callable[[int, int], None] | None = None,
) -> list[Note]:
    """Write masks as palette PNGs of values 0..K-1, 255 ignored: what a pixel was, it is.

    Args:
        folder: exists.
        splits: name -> its images, which may come from several data sets of the same classes.
        layout: as which choice of ``data`` they are read.
        images: how images get there.
        told: called with (images done, images in all) of each split.

    Returns:
        What is not as it was.
    """
    is_voc = layout == "voc_masks"
    first = next(part for parts in splits.values() for part in parts)
    classes = first.class_names
    palette = first.dataset.palette or voc_palette(len(classes))
    notes = []
    free = FreeNames(by_stem=True, flat=True)
    for split, parts in splits.items():
        if not is_voc:
            free = FreeNames(by_stem=True, flat=True)
        names = [free.give(name, path) for part in parts for name, path in zip(part.names, part.paths, strict=True)]
        beside, masks = (
            (folder / "JPEGImages", folder / "SegmentationClass")
            if is_voc
            else (folder / "images" / split, folder / "masks" / split)
        )
        masks.mkdir(parents=True, exist_ok=True)
        wanted = [(part.dataset, image_id) for part in parts for image_id in part.image_ids]
        targets = [masks / f"{PurePosixPath(name).stem}.png" for name in names]

        def write(work: tuple[tuple[MaskDataset, int], Path]) -> None:
            (dataset, image_id), target = work
            _save(dataset.mask_of(image_id), palette, target)

        with ThreadPoolExecutor(usable_cores()) as pool:
            for _ in pool.map(write, zip(wanted, targets, strict=True)):
                pass
        if is_voc:
            listed = folder / "ImageSets" / "Segmentation"
            listed.mkdir(parents=True, exist_ok=True)
            (listed / f"{split}.txt").write_text("".join(f"{path.stem}\n" for path in targets), encoding="utf-8")
        paths = [path for part in parts for path in part.paths]
        place_images([(path, beside / name) for path, name in zip(paths, names, strict=True)], images=images, told=told)
        before = [name for part in parts for name in part.names]
        renamed = sum(name != was for name, was in zip(names, before, strict=True))
        notes.append(
            Note("names", renamed, "images were renamed: masks lie in one folder, each under a name of its own")
        )
    if is_voc:
        lines = [f"{name}:{','.join(map(str, rgb))}::\n" for name, rgb in zip(classes, palette, strict=True)]
        (folder / "labelmap.txt").write_text("".join(lines), encoding="utf-8")
    else:
        (folder / "classes.txt").write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
    other = classes != VOC_MASK_CLASSES if is_voc else True
    notes.append(Note("class names", len(classes) if other else 0, "a reader has to be told the names of the classes"))
    return notes


def _save(mask: Mask, palette: Palette, path: Path) -> None:
    from PIL import Image

    image = Image.fromarray(mask).convert("P")
    colours = np.full((256, 3), 255, np.uint8)  # whole, or Pillow would renumber the values that have no colour
    colours[: len(palette)] = palette
    colours[255] = (224, 224, 192)  # VOC's own of what is ignored
    image.putpalette(colours.tobytes())
    image.save(path, format="PNG")
