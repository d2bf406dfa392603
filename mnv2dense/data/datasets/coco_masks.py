"""COCO's objects painted into masks: the outlines of an ``instances`` json, one class a pixel."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.coco_boxes import OutlinedColumns, read_outlined
from mnv2dense.data.datasets.coco_folder import annotation_file, image_folder
from mnv2dense.data.datasets.coco_json import CocoColumns, classes_of_categories
from mnv2dense.data.datasets.coco_rle import malformed_rle, paint_runs
from mnv2dense.data.datasets.columns import Paths, WholeNumbers, taken
from mnv2dense.data.datasets.image_list import BadImages, usable_images
from mnv2dense.data.datasets.image_sizes import sizes_of_listed
from mnv2dense.data.datasets.mask_png import Mask, checked_class_names, checked_palette
from mnv2dense.data.datasets.mask_table import MaskTable
from mnv2dense.types import IGNORE_INDEX

_log = logging.getLogger(__name__)


class CocoMasks(MaskTable[int]):
    """Masks painted from polygons and run-length masks, the largest object first, so that small ones stay visible.

    Pixels of no object, and of categories that belong to no class, are class 0: the background. Crowds are painted as
    255, in the same order. Images without annotations are all background.

    Args:
        root: the data set's folder.
        split: names the two defaults below.
        annotations: the json, relative to ``root``, ``{split}`` in it standing for the split; by default
            ``annotations/instances_{split}.json``, or ``{split}/_annotations.coco.json`` as Roboflow exports it.
            COCO-stuff's ``annotations/stuff_{split}.json`` is one, too.
        images: their folder, likewise; by default ``{split}``, else ``images/{split}``, and with ``annotations`` the
            json's own folder before these, if the images are in it.
        class_names: the K classes, background first; by default "background" and all categories of the json.
        class_map: category -> class, where they are not called the same.
        palette: RGB of each class for images; None takes the default colours.
        bad_images: ``error`` stops where an image is missing or damaged; ``skip`` leaves it out, and says how many.
        limit: only the first so many images of the file.

    Attributes:
        class_names: K names.
        palette: as given.
        skipped_images: images left out by ``bad_images='skip'``.

    Raises:
        FileNotFoundError: the json or images are missing.
        ValueError: the json or an option is not valid, or an object has no outline; the message says which.
    """

    labels_name_classes = True

    def __init__(
        self,
        *,
        root: str | Path,
        split: str = "train2017",
        annotations: str | Path | None = None,
        images: str | Path | None = None,
        class_names: Sequence[str] | None = None,
        class_map: Mapping[str, str] | None = None,
        palette: Sequence[Sequence[int]] | None = None,
        bad_images: BadImages = "error",
        limit: int | None = None,
    ) -> None:
        file = annotation_file(Path(root), split, annotations)
        found = read_outlined(file)
        content = found.content
        names = class_names if class_names is not None else ("background", *content.class_names)
        classes = checked_class_names(names)
        rgb = checked_palette(palette, len(classes))
        if classes[0] != "background" and classes[0] in content.class_names:
            raise ValueError(
                f"class_names begins with {classes[0]!r}, a category of {file}, but class 0 is "
                f"that of all pixels without an object: class_names=[background,{classes[0]},...]."
            )
        label_of = np.full(len(content.category_ids), _NO_CLASS)
        for category, label in classes_of_categories(file, content.class_names, classes, class_map or {}).items():
            label_of[category] = label
        example = content.names.at(0) if len(content.image_ids) else None
        named = None if annotations is None else file
        paths = Paths(image_folder(Path(root), split, images, annotations=named, example=example), content.names)
        usable = usable_images(file, paths, bad_images=bad_images, limit=limit)
        painter = _Painter(
            file, found, label_of, _upright_sizes(file, content, paths.chosen(usable), usable, bad_images), usable
        )
        super().__init__(
            source=file,
            class_names=classes,
            palette=rgb,
            image_ids=WholeNumbers(content.image_ids).chosen(usable),
            paths=paths.chosen(usable),
            masks=range(len(usable)),
            read=painter.paint,
            check=False,  # sizes are, and labels are right by construction
        )
        self.skipped_images = len(paths[:limit]) - len(usable)


_NO_CLASS = -1


@final
class _Painter:
    """Paints the outlines of an image, the largest first.

    Args:
        file: the json, for messages.
        found: what it holds.
        label_of: the class of each category, or :data:`_NO_CLASS`.
        sizes: (height, width) of the upright images that are used.
        usable: which of the json's images these are, ascending.

    Raises:
        ValueError: objects have no outline, or masks are not of their image's size.
    """

    def __init__(
        self,
        file: Path,
        found: OutlinedColumns,
        label_of: npt.NDArray[np.int64],
        sizes: npt.NDArray[np.int64],
        usable: Sequence[int],
    ) -> None:
        self._outlines = found.outlines
        self._sizes = sizes
        of_image, own_label, shown = found.content.objects.images, found.content.objects.labels, found.places
        painted = _refuse_without(file, found, label_of)
        first, last = np.searchsorted(of_image, [usable[0], usable[-1] + 1]).tolist()
        rows = first + np.flatnonzero(painted[first:last] & np.isin(of_image[first:last], np.asarray(usable)))
        places = np.searchsorted(np.asarray(usable), of_image[rows])
        self._starts = np.searchsorted(places, np.arange(len(usable) + 1))
        self._labels = np.where(found.content.objects.ignored[rows], IGNORE_INDEX, label_of[own_label[rows]])
        self._places = shown[rows]
        self._refuse_foreign_runs(file, found.content.objects.ids[rows], places)

    def paint(self, image: int) -> Mask:
        """The classes of one of the images that are used, by its place."""
        height, width = self._sizes[image].tolist()
        rows = slice(*self._starts[image : image + 2].tolist())
        labels, places = self._labels[rows].tolist(), self._places[rows].tolist()
        runs = [self._outlines.drawn(place, (height, width)) for place in places]
        areas = [int(own[1::2].sum()) for own in runs]
        painted = np.zeros(width * height, np.uint8)
        for i in sorted(range(len(runs)), key=lambda i: -areas[i]):
            paint_runs(painted, runs[i], labels[i])
        return np.ascontiguousarray(painted.reshape(width, height).T)

    def _refuse_foreign_runs(self, file: Path, ids: npt.NDArray[np.int64], images: npt.NDArray[np.int64]) -> None:
        """Of images whose size the file does not tell, or as it was before EXIF rotation."""
        own, wanted = self._outlines.run_sizes[self._places], self._sizes[images]
        foreign = np.flatnonzero((own != 0).any(axis=1) & (own != wanted).any(axis=1))
        if len(foreign):
            row = foreign[0]
            raise malformed_rle(
                file,
                ids[row],
                f"its size {own[row].tolist()} is not the image's {wanted[row].tolist()} (height, width)",
            )


def _refuse_without(file: Path, found: OutlinedColumns, label_of: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which annotations are painted: those of a class that have an outline; of others with an area an error."""
    objects = found.content.objects
    with_class = label_of[objects.labels] != _NO_CLASS
    outlined = found.encloses[found.places]
    has_area = (objects.boxes[:, 2:] > 0).all(axis=1)
    without = objects.ids[with_class & ~outlined & has_area]
    if len(without):
        # As the file lists them, which is not by their images.
        listed = without[np.argsort(found.places[with_class & ~outlined & has_area])]
        raise ValueError(
            f"{file}: {len(without)} annotations have a box, but no 'segmentation': "
            f"{', '.join(map(str, listed[:5].tolist()))}{', ...' if len(without) > 5 else ''}. Their pixels would "
            "count as background: outline them by three corners or more, or remove their images."
        )
    if empty := int((with_class & ~outlined & ~has_area).sum()):
        _log.warning("%s: dropped %d objects whose box and outline have no area.", file, empty)
    return np.asarray(with_class & outlined)


def _upright_sizes(
    file: Path, content: CocoColumns, paths: Paths, usable: Sequence[int], bad_images: BadImages
) -> npt.NDArray[np.int64]:
    """(height, width) of the images that are used; an error if the file describes one of another size.

    A size recorded before EXIF rotation is not another: outlines are drawn on what a browser shows, upright.
    """
    sizes = sizes_of_listed(paths, bad_images)
    if bad_images == "keep":
        return sizes
    recorded = taken(content.sizes, usable)
    right = (recorded == sizes).all(axis=1) | (recorded == sizes[:, ::-1]).all(axis=1) | (recorded == 0).all(axis=1)
    if not right.all():
        place = int(right.argmin())
        (height, width), (told_height, told_width) = sizes[place].tolist(), recorded[place].tolist()
        raise ValueError(
            f"{paths[place]}: the image is {width}x{height}, but {file} describes one of {told_width}x{told_height}, "
            "so its outlines would be misplaced. Use the images that were annotated, at their size."
        )
    return sizes
