"""What every mask data set does once its files are listed: check images and masks, give samples."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar, cast

import numpy as np

from mnv2dense.data.datasets.annotation_index import Columns, indexed_files
from mnv2dense.data.datasets.columns import chosen
from mnv2dense.data.datasets.image_list import (
    BadImages,
    missing_images,
    size_of_listed,
    usable_images,
)
from mnv2dense.data.datasets.image_table import ImageTable
from mnv2dense.data.datasets.mask_png import Mask, MaskRules, count_values, read_mask
from mnv2dense.io.reading import ImageError
from mnv2dense.types import Sample
from mnv2dense.types.class_lists import Palette
from mnv2dense.utils.cores import usable_cores

Source = TypeVar("Source")
"""What a mask is read from: a path, or whatever a format renders."""

# Count it up wherever other masks are refused or another set of labels is said of the same.
_CHECK = "mask-check 1"

_log = logging.getLogger(__name__)


class MaskTable(ImageTable, Generic[Source]):
    """Images and their masks, checked once, then given as samples; a format derives from it.

    Args:
        source: the folder or file that lists them, for messages.
        class_names: the K names that labels index.
        palette: RGB of each class for images; None takes the drawings' own colours.
        image_ids: P unique ids.
        paths: P image files.
        masks: P times what ``read`` takes; paths are asked whether they are there.
        read: -> uint8 [H, W] of classes, 255 ignored; a function or method that worker processes can be given. None
            reads PNGs by ``rules``.
        rules: of PNGs.
        files: P paths of the masks, where ``masks`` are no paths, and there are files.
        check: read every mask now, so that a wrong one stops before training and not in its midst. That ``rules`` made
            classes of all of them is kept, until a file changes.
        bad_images: ``skip`` leaves out what is missing or damaged; a mask with a wrong label is neither. ``keep``
            checks nothing now.
        limit: only the first so many.

    Attributes:
        palette: as given.
        skipped_images: how many ``bad_images='skip'`` left out.
        shown: the labels that the masks show, 255 included; empty where they were not checked.

    Raises:
        FileNotFoundError: files are missing; one message for all.
        ValueError: masks are wrong, one message for all; or no image is left.
    """

    def __init__(
        self,
        *,
        source: str | Path,
        class_names: Sequence[str],
        palette: Palette | None,
        image_ids: Sequence[int],
        paths: Sequence[Path],
        masks: Sequence[Source],
        read: Callable[[Source], Mask] | None = None,
        rules: MaskRules | None = None,
        files: Sequence[Path] | None = None,
        check: bool = True,
        bad_images: BadImages = "error",
        limit: int | None = None,
    ) -> None:
        usable = usable_images(source, paths, bad_images=bad_images, limit=limit)
        if files is None and len(masks) and isinstance(masks[0], Path):
            files = cast("Sequence[Path]", masks)
        if files is not None:
            usable = _with_masks(source, usable, paths, files, bad_images)
        super().__init__(
            source=source,
            class_names=class_names,
            image_ids=chosen(image_ids, usable),
            paths=chosen(paths, usable),
        )
        self.palette = palette
        self._masks: Sequence[Source] = chosen(masks, usable)
        self._files = None if files is None else chosen(files, usable)
        if read is None:
            assert rules is not None
            read = cast("Callable[[Source], Mask]", functools.partial(read_mask, rules=rules))
        self._read = read
        self.shown: frozenset[int] = (
            self._check(rules, skip=bad_images == "skip") if check and bad_images != "keep" else frozenset()
        )
        self.skipped_images = len(paths[:limit]) - len(self)

    def __getitem__(self, index: int) -> Sample:
        index = self._place(index)
        path = self.paths[index]
        image, mask = self.opened_image(index).decode(1)[0], self._read(self._masks[index])
        self._compare(index, mask, (image.shape[0], image.shape[1]))
        return Sample(image, boxes=None, labels=None, mask=mask, image_id=self.image_ids[index], path=path)

    def mask_of(self, image_id: int) -> Mask:
        """The true classes of the image with this id: uint8 [H, W], 255 ignored.

        Raises:
            LookupError: the data set has no such id.
        """
        return self._read(self._masks[self.place_of(image_id)])

    def _check(self, rules: MaskRules | None, *, skip: bool) -> frozenset[int]:
        """Read every mask, unless that was done; where damaged ones may be skipped, go on without them.

        The labels of the others.
        """
        if rules is None or self._files is None:
            verdict = self._verdict(skip=skip)
        else:
            options = f"skip {skip}, {rules._replace(options=frozenset())}"  # these are for advice alone
            verdict = indexed_files(
                *(self._files, self.paths), reader=_CHECK, options=options, read=lambda: self._verdict(skip=skip)
            )
        damaged = verdict.arrays["damaged"].tolist()
        if damaged:
            _log.warning("%s: skipped %d damaged masks: %s", self.source, len(damaged), verdict.facts["first"])
            left = sorted(set(range(len(self))).difference(damaged))
            self._masks = chosen(self._masks, left)
            self._files = None if self._files is None else chosen(self._files, left)
            self._leave_out(damaged)
        return frozenset(verdict.facts["shown"])

    def _verdict(self, *, skip: bool) -> Columns:
        """The labels that masks show, and which are damaged; an error of those that cannot be used."""
        with ThreadPoolExecutor(usable_cores()) as pool:
            looks = list(pool.map(self._looked_at, range(len(self))))
        faults = [look if isinstance(look, Exception) else None for look in looks]
        damaged = [index for index, fault in enumerate(faults) if skip and isinstance(fault, ImageError)]
        wrong = [fault for index, fault in enumerate(faults) if fault is not None and index not in set(damaged)]
        if len(wrong) == 1:
            raise wrong[0]
        if wrong or len(damaged) == len(faults):
            shown = wrong or [fault for fault in faults if fault is not None]
            more = "" if len(shown) <= 5 else f"\n... and {len(shown) - 5} more"
            listed = "\n".join(str(fault) for fault in shown[:5])
            raise ValueError(f"{self.source}: {len(shown)} of {len(faults)} masks cannot be used.\n{listed}{more}")
        labels = frozenset[int]().union(*(look for look in looks if not isinstance(look, Exception)))
        first = str(faults[damaged[0]]) if damaged else None
        return Columns({"damaged": np.array(damaged, np.int64)}, {"shown": sorted(labels), "first": first})

    def _looked_at(self, index: int) -> frozenset[int] | Exception:
        """The labels of one mask, or what is wrong with it."""
        try:
            mask = self._read(self._masks[index])
            self._compare(index, mask, size_of_listed(self.paths[index]))
        except (ValueError, OSError) as error:
            return error
        return frozenset(np.flatnonzero(count_values(mask)).tolist())  # many times faster than np.unique

    def _compare(self, index: int, mask: Mask, size: tuple[int, int]) -> None:
        """Refuse a mask that is not of the upright image's (height, width)."""
        if mask.shape == size:
            return
        named, path = self.source if self._files is None else self._files[index], self.paths[index]
        advice = ": turn the mask, or remove the EXIF orientation" if mask.shape == size[::-1] else ""
        raise ValueError(
            f"{named}: the mask is {mask.shape[0]} x {mask.shape[1]} "
            f"(height x width), but {path.name} upright is {size[0]} x {size[1]}. Masks must match the upright "
            f"image, pixel by pixel{advice}."
        )


def _with_masks(
    source: str | Path,
    usable: Sequence[int],
    paths: Sequence[Path],
    files: Sequence[Path],
    bad_images: BadImages,
) -> Sequence[int]:
    """Those of the indices whose mask is there; an error where the others may not be skipped."""
    if bad_images == "keep":
        return usable
    missing = set(missing_images(chosen(files, usable)))
    if not missing:
        return usable
    names = [paths[i].name for i in usable if files[i] in missing]
    message = f"{len(names)} of {len(usable)} images have no mask: {', '.join(names[:5])}"
    message += ", ..." if len(names) > 5 else ""
    if bad_images == "error" or len(names) == len(usable):
        raise FileNotFoundError(
            f"{source}: {message}; the first would be {min(missing).name}. bad_images='skip' leaves "
            "images without a mask out."
        )
    _log.warning("%s: skipped: %s", source, message)
    return [i for i in usable if files[i] not in missing]
