"""Writing a file so that a reader, a crash or a full disk never meets half of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a new file beside ``path`` that replaces it when the block ends, and only if it ends well.

    The new file is in the same folder (a rename is atomic within one file system only) and is on the disk
    before it takes the name, so whoever opens ``path`` finds the old contents or the new ones, also after a
    power cut.

    Args:
        path: the file to write; its folder must exist.
        sync: False does not wait for the disk, some 10 ms a file: for thousands of drawings that can be made again. A
            power cut may then leave an empty file; a reader, a crash or a full disk still never meets half of one.

    Yields:
        The binary file to write to.

    Raises:
        OSError: as the block or the disk raises it; ``path`` is as it was and nothing is left beside it.
    """
    # The process id: two processes that write the same file must not share the new one.
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    new.unlink(missing_ok=True)  # of a process that was killed, or a link that somebody put there
    try:
        with new.open("x+b") as file:  # some formats of images read what they wrote
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    if sync:
        _sync_folder(path.parent)


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have, as one that is too long, has none."""
    try:
        return path.is_file()
    except OSError:
        return False


def remove_leftovers(folder: Path) -> None:
    """Delete the new files that a process which was killed in :func:`atomic_write` left in a folder.

    Only call it where no other process writes: a file of one that is writing now looks the same.
    """
    for left in folder.glob(".*.new"):
        if is_leftover(left):
            left.unlink(missing_ok=True)


def is_leftover(path: Path) -> bool:
    """Whether a file has a name as new ones of :func:`atomic_write` have until they are whole."""
    return re.fullmatch(r"\..+\.\d+\.new", path.name) is not None


def _sync_folder(folder: Path) -> None:
    """The rename itself has to reach the disk too."""
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
