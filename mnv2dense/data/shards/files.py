"""The bytes of images out of shards, which lie in a folder or are fetched into a cache that has its bounds."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, final

from mnv2dense.data.shards.manifest import MANIFEST, ShardsError, StoredFile
from mnv2dense.utils.cache import cache_folder
from mnv2dense.utils.download import POLL_SECONDS
from mnv2dense.utils.remote import Patience, address_of, fetch_remote, is_address, read_remote

# A shard takes a line or two of a manifest: this is one of 300,000 shards.
_LARGEST_MANIFEST = 1 << 26

# A part of a shard, or the lock of one, that nobody has written to for so long was left by a process that ended.
_ABANDONED_SECONDS = 3600

# Connections of a process at once, beside that of the shard that is waited for.
_FETCHERS = 4

_log = logging.getLogger(__name__)


def manifest_bytes(root: str | Path, patience: Patience) -> bytes:
    """The manifest of a folder or an address.

    Raises:
        FileNotFoundError: a folder that is none, or holds none.
        DownloadError: the same of an address.
    """
    if is_address(root):
        return read_remote(address_of(str(root), MANIFEST), max_bytes=_LARGEST_MANIFEST, patience=patience)
    path = folder_of(root) / MANIFEST
    if not path.is_file():
        said = "there is no such folder" if not path.parent.is_dir() else f"it holds no {MANIFEST}"
        raise FileNotFoundError(
            f"root={root}: {said} (looked from {Path.cwd()}). tools/shard.py writes shards, and the manifest last: "
            "without one they are not whole."
        )
    return path.read_bytes()


def folder_of(root: str | Path) -> Path:
    """A folder, also as file://."""
    return Path(str(root).removeprefix("file://"))


def stored(root: str | Path, file: StoredFile, patience: Patience) -> Path:
    """Where a file of the folder can be read on this machine; one of an address is fetched at its first use.

    Raises:
        ShardsError: one in a folder is of another size.
        WrongHashError: the store has another file.
        OSError: it is missing, or cannot be fetched.
    """
    if not is_address(root):
        path = folder_of(root) / file.name
        if (size := path.stat().st_size) != file.size:
            raise ShardsError(f"{path}: {size:,} bytes, and the manifest says {file.size:,}. Copy the file again.")
        return path
    # By its hash: what changes at an address gets another name here.
    path = _shard_cache() / f"{file.sha256}{Path(file.name).suffix}"
    return fetch_remote(address_of(str(root), file.name), path, sha256=file.sha256, patience=patience)


@final
class ShardFiles:
    """The shards of a split.

    Args:
        root: a folder or an address.
        shards: its files of images.
        cache_bytes: how much of remote shards this machine keeps, those used last; together with those of others.
        patience: with a store that does not answer.
    """

    def __init__(self, root: str | Path, shards: Sequence[StoredFile], *, cache_bytes: int, patience: Patience) -> None:
        self._root = root
        self._shards = tuple(shards)
        self._cache_bytes = cache_bytes
        self._patience = patience
        self._is_remote = is_address(root)
        self._known: dict[int, Path] = {}
        self._ahead: _Fetchers | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ahead": None}  # threads stay where they are

    def read(self, shard: int, offset: int, size: int, crc: int) -> bytes:
        """So many bytes from there on.

        Args:
            shard: which.
            offset: of the first byte in the shard.
            size: how many.
            crc: zlib's CRC-32 of them.

        Raises:
            ShardsError: they are others: the file was damaged.
            OSError: the shard is missing, or cannot be fetched.
        """
        for _ in range(_MOST_FETCHES if self._is_remote else 1):
            path = self._at_hand(shard)
            try:
                content = self._bytes(path, offset, size)
            except FileNotFoundError:
                if not self._is_remote:
                    raise
                self._known.pop(shard, None)  # another process has just made room
                continue
            if len(content) == size and zlib.crc32(content) == crc:
                return content
            if not self._is_remote:
                raise ShardsError(
                    f"{path}: damaged: the {size:,} bytes from {offset:,} on have another checksum than when they were "
                    "written. Copy the file again, or write the shards again."
                )
            path.unlink(missing_ok=True)  # its hash was right when it came: this machine's copy is fetched again
            self._known.pop(shard, None)
        raise ShardsError(
            f"{path}: fetched {_MOST_FETCHES} times, and each time it was removed for others or damaged before it was "
            "read. Give the cache more room, as in cache_gb=100, or have it on another disk by MNV2DENSE_CACHE."
        )

    def _bytes(self, path: Path, offset: int, size: int) -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read(size)
        if self._is_remote:
            _touch(path)
        return content

    def fetch_ahead(self, shards: Sequence[int]) -> None:
        """Begin to fetch shards in threads of this process; nothing of a folder."""
        if not self._is_remote:
            return
        if self._ahead is None or self._ahead.process != os.getpid():
            self._ahead = _Fetchers()
        for shard in shards:
            self._ahead.wanted.put((self, shard))

    def bring(self, shard: int) -> None:
        """Fetch a shard, unless it is here; then it counts as used now, so that others make room before it does."""
        if (path := self._known.get(shard)) is not None and not path.exists():
            self._known.pop(shard, None)  # it had to make room
        _touch(self._at_hand(shard))

    def _at_hand(self, shard: int) -> Path:
        """Where it can be read; fetched now, where it is not here."""
        if shard in self._known:
            return self._known[shard]
        file = self._shards[shard]
        is_new = self._is_remote and not (_shard_cache() / f"{file.sha256}.tar").exists()
        path = stored(self._root, file, self._patience)
        if is_new:
            _make_room(self._cache_bytes, keep=path)
        self._known[shard] = path
        return path


# A shard that is gone from the cache as often as that before it is read: the cache is too small for its processes.
_MOST_FETCHES = 5


class _Fetchers:
    """Threads that fetch shards before they are asked for; they end with the process, in the midst of a file too.

    The file goes on where it ended. What went wrong is said when the shard itself is asked for.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self.wanted: SimpleQueue[tuple[ShardFiles, int]] = SimpleQueue()
        for number in range(_FETCHERS):
            threading.Thread(target=self._work, name=f"shards {number}", daemon=True).start()

    def _work(self) -> None:
        while True:
            files, shard = self.wanted.get()
            try:
                files.bring(shard)
            except Exception as error:  # whoever asks for the shard tries again, and raises it
                _log.debug("shard %d could not be fetched ahead: %s", shard, error)


def _shard_cache() -> Path:
    return cache_folder() / "shards"


def _touch(path: Path) -> None:
    """Those used last are kept."""
    with contextlib.suppress(OSError):  # somebody else's file, or one that has just made room
        os.utime(path)


def _make_room(limit: int, *, keep: Path) -> None:
    """Remove shards that were not used for longest until the cache holds ``limit`` bytes."""
    from filelock import FileLock

    with FileLock(keep.parent / ".room.lock").acquire(poll_interval=POLL_SECONDS):
        found = []
        for path in keep.parent.glob("*.tar*"):
            with contextlib.suppress(OSError):  # one that is gone, or held where what is open stays
                state = path.stat()
                is_abandoned = time.time() - state.st_mtime > _ABANDONED_SECONDS
                if path.suffix == ".lock":  # younger ones may be held
                    if is_abandoned:
                        path.unlink()
                # What fetching left in the midst counts too, once nobody writes it any more.
                elif path.suffix == ".tar" or is_abandoned:
                    found.append((state.st_mtime_ns, state.st_size, path))
        excess = sum(size for _, size, _ in found) - limit
        for _, size, path in sorted(found):
            if excess <= 0:
                break
            if path != keep:
                with contextlib.suppress(OSError):  # Windows keeps what is open
                    path.unlink()
                    excess -= size
