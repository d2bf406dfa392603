"""The images of a data set that can be used, and those that cannot."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.columns import Paths
from mnv2dense.io.reading import ImageError, Undecoded, image_size, open_image, read_image
from mnv2dense.utils.cores import usable_cores
from mnv2dense.utils.files import is_file
from mnv2dense.utils.numbers import is_whole

_log = logging.getLogger(__name__)

BadImages = Literal["error", "skip", "keep"]
"""``error``: stop where an image is bad; ``skip``: decode all at the start, count and leave out the bad; ``keep``: look
at none before it is asked for, so that whoever examines the data meets each fault by itself."""


def for_split(path: str | Path, split: str) -> str:
    """A path with the split in the place of ``{split}``; other braces are letters like any."""
    return str(path).replace("{split}", split)


def usable_images(
    source: str | Path, paths: Sequence[Path], *, bad_images: BadImages, limit: int | None
) -> Sequence[int]:
    """Indices of the images to use, ascending: the first ``limit``, without bad ones where they may be skipped.

    A range where none is left out in their midst.

    Raises:
        FileNotFoundError: images are missing and ``bad_images`` is ``error``.
        ValueError: an option is wrong, or no image is left.
    """
    if bad_images not in ("error", "skip", "keep"):
        raise ValueError(f"bad_images={bad_images!r} is neither 'error' nor 'skip', nor 'keep'.")
    check_limit(limit)
    paths = paths[:limit]
    if bad_images == "keep" and len(paths):
        return range(len(paths))
    suspects = _unlisted(paths) if isinstance(paths, Paths) else paths
    bad = dict.fromkeys(missing_images(suspects), "no such file")
    if bad and bad_images == "error":
        folders = ", ".join(sorted({str(path.parent.absolute()) for path in bad})[:3])
        raise FileNotFoundError(
            f"{source}: {len(bad)} of {len(paths)} images are missing: {_first(path.name for path in bad)} "
            f"(looked in {folders}). Check root= and that the images are unpacked; "
            "bad_images='skip' leaves missing and damaged images out."
        )
    if bad_images == "skip":
        bad |= unreadable_images([path for path in paths if path not in bad])
    usable = [index for index, path in enumerate(paths) if path not in bad] if bad else range(len(paths))
    if not usable:
        reasons = f"all {len(bad)} are missing or damaged: {_first(bad.values())}" if bad else "it lists none"
        raise ValueError(f"{source}: no image to use, {reasons}. Check root= and the split.")
    if bad:
        reasons = _first(f"{path.name} ({reason})" for path, reason in bad.items())
        _log.warning("%s: skipped %d of %d images: %s", source, len(bad), len(paths), reasons)
    return usable


def open_listed(path: Path) -> Undecoded:
    """An image of a data set, as :func:`open_image` gives it; of a bad one is told what leaves such images out."""

    def decode(reduction: int) -> tuple[npt.NDArray[np.uint8], int]:
        try:
            return image.decode(reduction)
        except ImageError as error:
            raise ImageError(f"{error} {_LEFT_OUT}") from error

    try:
        image = open_image(path)
    except ImageError as error:
        raise ImageError(f"{error} {_LEFT_OUT}") from error
    return Undecoded(image.size, decode)


def size_of_listed(path: Path, bad_images: BadImages = "error") -> tuple[int, int]:
    """Its (height, width), as :func:`image_size` gives it; with the same advice. Of a bad one that is kept, 1 x 1."""
    try:
        return image_size(path)
    except (ImageError, OSError) as error:
        if bad_images == "keep":
            return (1, 1)
        if not isinstance(error, ImageError):
            raise
        raise ImageError(f"{error} {_LEFT_OUT}") from error


_LEFT_OUT = "bad_images='skip' leaves such images out."


def check_limit(limit: object) -> None:
    """Raise a ValueError unless this is how many images to take at most: 1 or more, or None for all."""
    if limit is None or (is_whole(limit) and limit >= 1):
        return
    if is_whole(limit):
        raise ValueError(f"limit={limit} leaves no image; give 1 or more, or None for all.")
    raise ValueError(f"limit={limit!r}: a whole number of images is needed, or None for all.")


def ids_from_stems(paths: Sequence[Path]) -> list[int]:
    """The numbers that the files are named by, as COCO and VOC 2007 name them; else 1, 2, 3, ... in order."""
    stems = [path.stem for path in paths]
    if all(stem.isascii() and stem.isdigit() and len(stem) < 19 for stem in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(1, len(stems) + 1))


def _unlisted(paths: Paths) -> list[Path]:
    """Those that are not among the files of the folder itself, by their names alone: a hundred times faster."""
    listing = _files_in(paths.folder)
    return [paths[place] for place, name in enumerate(paths.names()) if name not in listing]


def missing_images(paths: Iterable[Path]) -> list[Path]:
    """Those paths that are no file. One listing per folder, not one question per file."""
    listings: dict[Path, set[str]] = {}
    missing = []
    for path in paths:
        if path.parent not in listings:
            listings[path.parent] = _files_in(path.parent)
        # The second look serves file systems that spell accents or case their own way.
        if path.name not in listings[path.parent] and not is_file(path):
            missing.append(path)
    return missing


def _files_in(folder: Path) -> set[str]:
    """Names of what is no folder there, nor a link to one or to nothing; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()


def unreadable_images(paths: Iterable[Path]) -> dict[Path, str]:
    """Decode every image once; path -> reason of those that :func:`read_image` refuses.

    Slow: about a second per 1,000 images and core.
    """

    def reason(path: Path) -> tuple[Path, str | None]:
        try:
            read_image(path)
        except (ImageError, OSError) as error:
            return path, str(error)
        return path, None

    with ThreadPoolExecutor(usable_cores()) as pool:
        return {path: why for path, why in pool.map(reason, paths) if why is not None}


def _first(items: Iterable[object], count: int = 5) -> str:
    """The first few of many, for a message."""
    listed = [f"{item!s:.300}" for item in items]
    return ", ".join(listed[:count]) + (f", ... ({len(listed)} in all)" if len(listed) > count else "")
