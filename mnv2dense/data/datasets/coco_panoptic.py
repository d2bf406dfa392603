"""COCO panoptic: a json of segments, and PNGs whose colours are the segments' ids (cocodataset.org/#format-data)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.annotation_index import Columns, indexed
from mnv2dense.data.datasets.coco_folder import annotation_file, image_folder
from mnv2dense.data.datasets.coco_json import (
    checked_categories,
    checked_images,
    classes_of_categories,
    load_json,
    refuse_duplicates,
)
from mnv2dense.data.datasets.columns import Names, Paths, WholeNumbers, ends_of
from mnv2dense.data.datasets.image_list import BadImages, for_split
from mnv2dense.data.datasets.label_values import is_true
from mnv2dense.data.datasets.mask_png import Mask, checked_class_names, checked_palette, read_png_values
from mnv2dense.data.datasets.mask_table import MaskTable
from mnv2dense.types import IGNORE_INDEX
from mnv2dense.utils.numbers import is_whole

# A segment's id is R + 256 G + 256 * 256 B of its colour; 0 is no segment.
_DIGITS = np.array([1, 256, 65536], np.int32)

# Pixels looked at together: what numpy makes of them on the way takes twenty times their memory.
_CHUNK = 2**20


@final
class PanopticMasks(MaskTable[int]):
    """The class of every pixel of COCO panoptic, things and stuff alike; pixels of no segment and crowds are ignored.

    The json is checked whole before training; a PNG that does not fit it is found when it is read.

    Args:
        root: the data set's folder.
        split: names the three defaults below.
        annotations: the json, relative to ``root``; by default ``annotations/panoptic_{split}.json``.
        masks: the PNGs' folder, relative to ``root``; by default ``annotations/panoptic_{split}``, as COCO unpacks.
        images: the images' folder, relative to ``root``; by default ``{split}``, else ``images/{split}``.
        class_names: the K classes; by default all categories of the json, 133 in COCO.
        class_map: category -> class, where they are not called the same; many categories may be one class.
        others: the class of categories that are none of them, such as "background"; None ignores them.
        palette: RGB of each class for images; None takes the default colours.
        bad_images: ``error`` stops where an image or mask is missing; ``skip`` leaves it out, and damaged ones too.
        limit: only the first so many images of the file.

    Attributes:
        class_names: K names.
        palette: as given.

    Raises:
        FileNotFoundError: the json, images or masks are missing.
        ValueError: the json or an option is not valid; the message says where.
    """

    labels_name_classes = True

    def __init__(
        self,
        *,
        root: str | Path,
        split: str = "train2017",
        annotations: str | None = None,
        masks: str | None = None,
        images: str | None = None,
        class_names: Sequence[str] | None = None,
        class_map: Mapping[str, str] | None = None,
        others: str | None = None,
        palette: Sequence[Sequence[int]] | None = None,
        bad_images: BadImages = "error",
        limit: int | None = None,
    ) -> None:
        root = Path(root)
        file = annotation_file(root, split, annotations, kind="panoptic")
        folder = root / for_split(masks or "annotations/panoptic_{split}", split)
        content = _read_index(file)
        names = content.class_names
        classes = checked_class_names(names if class_names is None else class_names)
        rgb = checked_palette(palette, len(classes))
        if others is not None and others not in classes:
            raise ValueError(f"others={others!r} is no class; the classes are: {', '.join(classes)}.")
        other = IGNORE_INDEX if others is None else classes.index(others)
        found = classes_of_categories(file, names, classes, class_map or {})
        label_of = np.array([found.get(k, other) for k in range(len(names))], np.uint8)
        files = Paths(folder, content.masks)
        super().__init__(
            source=file,
            class_names=classes,
            palette=rgb,
            image_ids=WholeNumbers(content.image_ids),
            paths=Paths(image_folder(root, split, images), content.images),
            masks=range(len(files)),
            files=files,
            read=_PanopticReader(files, content, label_of).read,
            check=bad_images == "skip",  # reading all of COCO's takes a quarter of an hour
            bad_images=bad_images,
            limit=limit,
        )


class _Segments(NamedTuple):
    """A checked ``panoptic`` file of P images with T segments.

    Attributes:
        class_names: K names, by the ids' order.
        image_ids: int64 [P], of the images that have annotations.
        images: their P names.
        masks: P names of PNGs.
        starts: int64 [P + 1], where the segments of each image begin.
        ids: int32 [T], as colours say them.
        categories: int64 [T], 0..K-1.
        crowds: bool [T].
    """

    class_names: tuple[str, ...]
    image_ids: npt.NDArray[np.int64]
    images: Names
    masks: Names
    starts: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]
    categories: npt.NDArray[np.int64]
    crowds: npt.NDArray[np.bool_]


@final
class _PanopticReader:
    """Reads the PNGs of a json.

    Args:
        files: the P PNGs.
        content: of the json.
        label_of: uint8 [K], the class of each category.
    """

    def __init__(self, files: Paths, content: _Segments, label_of: npt.NDArray[np.uint8]) -> None:
        self._files = files
        self._content = content
        self._label_of = label_of

    def read(self, place: int) -> Mask:
        """The mask at this place among the P."""
        path = self._files[place]
        values = read_png_values(path)
        if values.ndim != 3:
            raise ValueError(
                f"{path}: a gray or palette PNG, but segments are numbered by colours. Fetch COCO's panoptic PNGs; for "
                "masks of class numbers use data=mask_folder."
            )
        ids, labels = self._sorted_segments(place)
        mask, rows = np.empty(values.shape[:2], np.uint8), max(1, _CHUNK // values.shape[1])
        for top in range(0, len(values), rows):
            numbers = values[top : top + rows].astype(np.int32) @ _DIGITS
            places = np.searchsorted(ids, numbers).clip(max=len(ids) - 1)
            if (stray := ids[places] != numbers).any():
                row, column = np.unravel_index(int(stray.argmax()), stray.shape)
                raise ValueError(
                    f"{path}: segment {numbers[row, column]} at pixel ({top + row}, {column}) is not in the json's "
                    "'segments_info' for this image. Json and PNGs must be of the same release."
                )
            mask[top : top + rows] = labels[places]
        return mask

    def _sorted_segments(self, place: int) -> tuple[npt.NDArray[np.int32], Mask]:
        """The ids in ascending order and their classes, with 0: no segment."""
        own = slice(*self._content.starts[place : place + 2].tolist())
        labels = np.where(self._content.crowds[own], IGNORE_INDEX, self._label_of[self._content.categories[own]])
        label_of = dict(zip(self._content.ids[own].tolist(), labels.tolist(), strict=True))
        ids = sorted({0, *label_of})
        return np.array(ids, np.int32), np.array([label_of.get(id_, IGNORE_INDEX) for id_ in ids], np.uint8)


# Count it up wherever another content comes of the same file, or other files are refused.
_READER = "coco-panoptic 1"


def _read_index(file: Path) -> _Segments:
    arrays, facts = indexed(file, reader=_READER, read=lambda: _read(file))
    return _Segments(
        class_names=tuple(facts["class_names"]),
        images=Names(arrays["image_letters"], arrays["image_starts"]),
        masks=Names(arrays["mask_letters"], arrays["mask_starts"]),
        **{name: arrays[name] for name in ("image_ids", "starts", "ids", "categories", "crowds")},
    )


def _read(file: Path) -> Columns:
    """Read and check the json."""
    content = load_json(file)
    category_ids, class_names = checked_categories(file, content["categories"])
    place_of = {category_id: place for place, category_id in enumerate(category_ids)}
    file_names = {image["id"]: image["file_name"] for image in checked_images(file, content["images"])}
    rows = _checked_rows(file, content["annotations"], file_names, place_of)
    segments = [segment for row in rows for segment in row["segments_info"]]
    images = Names.of(file_names[row["image_id"]] for row in rows)
    masks = Names.of(row["file_name"] for row in rows)
    arrays: dict[str, npt.NDArray[Any]] = {
        "image_ids": np.array([row["image_id"] for row in rows], np.int64),
        "image_letters": images.letters,
        "image_starts": images.starts,
        "mask_letters": masks.letters,
        "mask_starts": masks.starts,
        "starts": ends_of(np.array([len(row["segments_info"]) for row in rows], np.int64)),
        "ids": np.array([segment["id"] for segment in segments], np.int32),
        "categories": np.array([place_of[segment["category_id"]] for segment in segments], np.int64),
        "crowds": np.array([segment["iscrowd"] for segment in segments], np.bool_),
    }
    return Columns(arrays, {"class_names": list(class_names)})


def _checked_rows(
    file: Path, rows: list[dict[str, Any]], images: Mapping[int, str], label_of: Mapping[int, int]
) -> list[dict[str, Any]]:
    """The json's annotations, one an image, if images, segments and categories are there."""
    for position, row in enumerate(rows):
        if not isinstance(row.get("file_name"), str) or not isinstance(row.get("segments_info"), list):
            raise ValueError(
                f"{file}: annotations[{position}] has no 'file_name' or no 'segments_info' ({row!r:.200}). For an "
                "'instances' json use data=coco_masks."
            )
        if not is_whole(row.get("image_id")) or row["image_id"] not in images:
            raise ValueError(f"{file}: annotations[{position}] has image_id {row.get('image_id')!r}, not in 'images'.")
        for segment in row["segments_info"]:
            if not isinstance(segment, dict) or not is_whole(segment.get("id")) or not 0 < segment["id"] < 256**3:
                raise ValueError(f"{file}: {row['file_name']} has a segment without a valid id: {segment!r:.200}.")
            if not is_whole(segment.get("category_id")) or segment["category_id"] not in label_of:
                raise ValueError(
                    f"{file}: segment {segment['id']} of {row['file_name']} has category_id "
                    f"{segment.get('category_id')!r}, which 'categories' does not list."
                )
            try:
                segment["iscrowd"] = is_true(segment.get("iscrowd"))
            except ValueError as error:
                raise ValueError(
                    f"{file}: segment {segment['id']} of {row['file_name']}: iscrowd {error}. Correct it."
                ) from error
    refuse_duplicates(file, "image", (row["image_id"] for row in rows))
    return rows
