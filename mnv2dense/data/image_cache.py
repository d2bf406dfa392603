"""Decoded images kept in memory or on the disk, once for all processes of a machine."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import logging
import mmap
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, final

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from mnv2dense.io.reading import Undecoded
from mnv2dense.utils.cache import cache_folder
from mnv2dense.utils.files import atomic_write
from mnv2dense.utils.numbers import is_number

CacheKind = Literal["ram", "disk"]
"""``ram``: in Linux' /dev/shm, gone with the last run that uses it; ``disk``: below ``$MNV2DENSE_CACHE``, for good."""

_SHARED_MEMORY: Final = Path("/dev/shm")

# Magic and version; size and time of the file that was decoded; height and width. Pixels follow.
_HEADER: Final = struct.Struct("<8sQQII")
_MAGIC: Final = b"mnv2rgb1"

_log = logging.getLogger(__name__)


@final
class ImageCache:
    """Images as they were decoded first, each a file of its own that processes map into their memory.

    An image is decoded again when its file's size or time has changed. What finds no room is decoded each time, always
    the same: pixels do not depend on what is kept.

    Args:
        kind: where.
        gigabytes: the most that is kept there, 10^9 bytes; None takes half of what is free.

    Attributes:
        folder: where they lie.

    Raises:
        ValueError: another kind, no number above 0, or no shared memory on this machine.
        OSError: the folder cannot be made, or is somebody else's.
    """

    def __init__(self, kind: CacheKind, *, gigabytes: float | None = None) -> None:
        if kind not in ("ram", "disk"):
            raise ValueError(f"cache={kind}: ram, disk, or null to decode images each time.")
        if gigabytes is not None and (not is_number(gigabytes) or not gigabytes > 0):
            raise ValueError(f"cache_gigabytes={gigabytes}: a number above 0, or null for half of what is free.")
        self.kind = kind
        if kind == "ram":
            self.folder = _of_this_run()
        else:
            self.folder = cache_folder() / "images"
            self.folder.mkdir(parents=True, exist_ok=True)
        self._writes = True
        with self._lock():
            used = sum(entry.stat().st_size for entry in self.folder.glob("??/*.rgb"))
            self._total.write_text(str(used))
            self._told.unlink(missing_ok=True)
        free = shutil.disk_usage(self.folder).free
        self._limit = (used + free) // 2 if gigabytes is None else int(gigabytes * 1e9)

    def opened(self, path: Path, open_image: Callable[[Path], Undecoded]) -> Undecoded:
        """The image of a file, from here or, where it is not, as ``open_image`` opens it; it is kept when decoded."""
        place, state = self._place_of(path), path.stat()
        if (kept := _read(place, state)) is not None:
            return Undecoded.whole(kept)
        image = open_image(path)

        def decode(_: int) -> tuple[npt.NDArray[np.uint8], int]:
            # Never reduced, kept or not: pixels would depend on who was first to find room.
            pixels = image.decode(1)[0]
            self._keep(place, state, pixels)
            return pixels, 1

        return Undecoded(image.size, decode)

    def _place_of(self, path: Path) -> Path:
        name = hashlib.blake2b(str(path.absolute()).encode(errors="surrogateescape"), digest_size=16).hexdigest()
        return self.folder / name[:2] / f"{name}.rgb"

    def _keep(self, place: Path, state: os.stat_result, pixels: npt.NDArray[np.uint8]) -> None:
        if not self._writes:
            return
        height, width = pixels.shape[:2]
        header = _HEADER.pack(_MAGIC, state.st_size, state.st_mtime_ns, height, width)
        try:
            if not self._reserve(len(header) + pixels.nbytes):
                self._writes = False
                return
            place.parent.mkdir(exist_ok=True)
            with atomic_write(place, sync=False) as file:
                file.write(header)
                file.write(np.ascontiguousarray(pixels).data)
        except (
            OSError,
            ValueError,
        ) as error:  # the disk is full, the folder was deleted, or a killed run left no total
            self._writes = False
            _log.warning("cache=%s: images are kept no more, but decoded each time: %s.", self.kind, error)

    def _reserve(self, size: int) -> bool:
        """Whether there is room for so many bytes; then they are counted. The first who finds none tells it."""
        with self._lock():
            total = int(self._total.read_text())
            if total + size <= self._limit:
                self._total.write_text(str(total + size))
                return True
            if not self._told.exists():
                self._told.touch()
                _log.warning(
                    "cache=%s: %.1f GB of decoded images are kept in %s, and no more than %.1f may; the others "
                    "are decoded each time. cache_gigabytes= allows more%s.",
                    *(self.kind, total / 1e9, self.folder, self._limit / 1e9),
                    ", or cache=disk" if self.kind == "ram" else ", or delete what older runs left there",
                )
            return False

    def _lock(self) -> FileLock:
        return FileLock(self.folder / "lock")

    @property
    def _total(self) -> Path:
        return self.folder / "bytes"

    @property
    def _told(self) -> Path:
        return self.folder / "told"


def _read(place: Path, state: os.stat_result) -> npt.NDArray[np.uint8] | None:
    """The pixels of a file of that size and time, mapped; writing to them changes no one else's."""
    try:
        with place.open("rb") as file:
            # A copy on write: torch wants arrays that may be written to.
            kept = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except (FileNotFoundError, ValueError):  # an empty file cannot be mapped
        return None
    if len(kept) < _HEADER.size:
        return None
    magic, size, time, height, width = _HEADER.unpack_from(kept)
    same = (magic, size, time) == (_MAGIC, state.st_size, state.st_mtime_ns)
    if not same or len(kept) != _HEADER.size + 3 * height * width:
        return None
    return np.frombuffer(kept, np.uint8, offset=_HEADER.size).reshape(height, width, 3)


def _of_this_run() -> Path:
    """A folder in shared memory for all processes that use it now; the last to end removes it."""
    if not _SHARED_MEMORY.is_dir() or not hasattr(os, "getuid"):
        raise ValueError(f"cache=ram needs {_SHARED_MEMORY}, which Linux has; cache=disk does without.")
    base = _own_folder(_SHARED_MEMORY, os.getuid())
    folder, users = base / "images", base / "users"
    with FileLock(base / "lock"):
        users.mkdir(exist_ok=True)
        _remove_unused(folder, users)
        folder.mkdir(exist_ok=True)
        (users / str(os.getpid())).touch()
    atexit.register(_leave, base, os.getpid())
    return folder


def _leave(base: Path, process: int) -> None:
    if os.getpid() != process:  # a fork of who came
        return
    with contextlib.suppress(OSError), FileLock(base / "lock"):
        (base / "users" / str(process)).unlink(missing_ok=True)
        _remove_unused(base / "images", base / "users")


def _remove_unused(folder: Path, users: Path) -> None:
    """Delete images that no living process uses: those of a run that was killed, too."""
    for user in users.iterdir():
        try:
            os.kill(int(user.name), 0)
        except ProcessLookupError:
            user.unlink(missing_ok=True)
        except PermissionError:
            pass
    if not any(users.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)


def _own_folder(place: Path, user: int) -> Path:
    """A folder of this user that nobody else can write to: what is read here is trusted."""
    folder = place / f"mnv2dense-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder.lstat()
    if state.st_uid != user or state.st_mode & 0o077 or not folder.is_dir() or folder.is_symlink():
        raise OSError(f"{folder}: belongs to somebody else or others may write to it; delete it, or set cache=disk.")
    return folder
