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

from mnv2dense.data.datasets.annotation_index import Columns, indexed_files
from mnv2dense.data.datasets.columns import WholeNumbers, spelled, stem_of
from mnv2dense.io.reading import ImageError, Undecoded, image_size, open_image, read_image
from mnv2dense.utils.cores import usable_cores
from mnv2dense.utils.files import is_file
from mnv2dense.utils.numbers import is_whole

# Count it up wherever other images are refused.
_DECODED = "decoded-images 1"

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
    bad = dict.fromkeys(missing_images(paths), "no such file")
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


def ids_from_stems(paths: Sequence[Path]) -> WholeNumbers:
    """The numbers that the files are named by, as COCO and VOC 2007 name them; else 1, 2, 3, ... in order."""
    stems = [stem_of(name) for name in spelled(paths)]
    if all(stem.isascii() and stem.isdigit() and len(stem) < 19 for stem in stems):
        numbers = np.array([int(stem) for stem in stems], np.int64)
        if len(np.unique(numbers)) == len(numbers):
            return WholeNumbers(numbers)
    return WholeNumbers(np.arange(1, len(stems) + 1))


def missing_images(paths: Sequence[Path]) -> list[Path]:
    """Those paths that are no file. One listing per folder, not one question per file."""
    listings: dict[str, set[str]] = {}
    missing = []
    for place, text in enumerate(spelled(paths)):
        folder, separator, name = text.rpartition(os.sep)
        folder += separator  # of the root folder nothing else is left
        if folder not in listings:
            listings[folder] = _files_in(folder or os.curdir)
        # The second look serves file systems that spell accents or case their own way.
        if name not in listings[folder] and not is_file(path := paths[place]):
            missing.append(path)
    return missing


def _files_in(folder: str) -> set[str]:
    """Names of what is no folder there, nor a link to one or to nothing; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()


def unreadable_images(paths: Sequence[Path]) -> dict[Path, str]:
    """Decode every image once; path -> reason of those that :func:`read_image` refuses.

    Slow, about a second per 1,000 images and core, at first: what is found is kept until a file changes.
    """
    from PIL import __version__ as version

    def reason(path: Path) -> str | None:
        try:
            read_image(path)
        except (ImageError, OSError) as error:
            return str(error)
        return None

    def read() -> Columns:
        with ThreadPoolExecutor(usable_cores()) as pool:
            reasons = list(pool.map(reason, paths))
        bad = [place for place, why in enumerate(reasons) if why is not None]
        return Columns({"bad": np.array(bad, np.int64)}, {"reasons": [reasons[place] for place in bad]})

    found = indexed_files(paths, reader=_DECODED, options=f"Pillow {version}", read=read)
    return {paths[place]: why for place, why in zip(found.arrays["bad"].tolist(), found.facts["reasons"], strict=True)}


def _first(items: Iterable[object], count: int = 5) -> str:
    """The first few of many, for a message."""
    listed = [f"{item!s:.300}" for item in items]
    return ", ".join(listed[:count]) + (f", ... ({len(listed)} in all)" if len(listed) > count else "")
