"""Images of a data set beside labels that are written: copied, linked or left where they are; never changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from mnv2dense.utils.cores import usable_cores

Placing = Literal["copy", "link", "none"]
"""``copy``: whatever is done to the written folder leaves the originals alone. ``link``: the same file under a second
name, which takes no room; a tool that writes into it changes both. ``none``: labels alone."""


def place_images(
    pairs: Sequence[tuple[Path, Path]], *, images: Placing, told: Callable[[int, int], None] | None = None
) -> None:
    """Put images where a format wants them.

    Args:
        pairs: (the original, where it shall be).
        images: how.
        told: called with (images done, images in all).

    Raises:
        OSError: one cannot be read or written, or there is no room for all of them.
    """
    if images == "none" or not pairs:
        return
    if images == "copy":
        _check_room(pairs)
    for folder in {target.parent for _, target in pairs}:
        folder.mkdir(parents=True, exist_ok=True)
    put = shutil.copyfile if images == "copy" else _link
    with ThreadPoolExecutor(usable_cores()) as pool:
        for done, _ in enumerate(pool.map(lambda pair: put(*pair), pairs), start=1):
            if told is not None:
                told(done, len(pairs))


def _link(original: Path, target: Path) -> None:
    """A hard link: it outlives the original's name, and archives hold the image; between file systems a soft one."""
    original = original.resolve()
    try:
        os.link(original, target)
    except OSError:
        target.symlink_to(original)


def _check_room(pairs: Iterable[tuple[Path, Path]]) -> None:
    wanted, target = 0, Path()
    for original, target in pairs:  # noqa: B007 - any of the targets says on which disk
        wanted += original.stat().st_size
    folder = next(folder for folder in target.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise OSError(
            f"{folder}: the images take {wanted / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; links take none."
        )
