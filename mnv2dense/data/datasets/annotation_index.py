"""What reading annotation files gave, kept as columns that are mapped from then on by whoever opens it again.

Each index is a folder in the cache: a ``.npy`` file per column and ``index.json``, which tells of what file, by what
reader, and what each column must be. One that is damaged, or of a file that has changed since, is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.file_states import names_digest, states_digest
from mnv2dense.utils.cache import cache_folder
from mnv2dense.utils.mapped import as_plain

_log = logging.getLogger(__name__)

WORTH_BYTES = 4 * 2**20
"""Smaller files are read in a tenth of a second, and nobody needs an index of them."""

WORTH_FILES = 500
"""Of fewer files no index is kept: they too are read in a tenth of a second, and masks in two."""

_VARIABLE = "MNV2DENSE_ANNOTATION_INDEX"

_KEPT = 16
"""Indexes in the cache; those that were not opened for the longest time make room."""

_LEFTOVER_SECONDS = 3600
"""Nobody writes for longer: a folder of this age is of a process that was killed."""

_WAIT_SECONDS = 120
"""For another process that reads the same file; several times what COCO takes."""

Column = npt.NDArray[Any]


class Columns(NamedTuple):
    """What a reader makes of a file.

    Attributes:
        arrays: by name.
        facts: what is small: numbers, texts and lists of them, as json keeps them.
    """

    arrays: Mapping[str, Column]
    facts: Mapping[str, Any]


def indexed(file: Path, *, reader: str, read: Callable[[], Columns]) -> Columns:
    """What ``read()`` makes of ``file``: mapped from the index if there is one, else read, and kept for the next.

    Of processes that ask at once one reads and the others wait for it. Where the cache cannot be written, a warning
    says so, and what was read is all the same.

    Args:
        file: the annotation file. Another path, size or time of change is another file.
        reader: name and version of what reads; one per way of reading, and another where it changes.
        read: raises what is wrong with the file; then nothing is kept.
    """
    if file.stat().st_size < WORTH_BYTES:
        return read()
    return _indexed(lambda: _key(file, reader), read)


def indexed_files(*files: Sequence[Path], reader: str, read: Callable[[], Columns], options: str = "") -> Columns:
    """As :func:`indexed`, of what ``read()`` makes of many files, together.

    Other names in another order, another size or time of change of any, or one that comes or goes make another index;
    to ask for all of that takes a twentieth of reading small text files.

    Args:
        files: lists of all that ``read`` looks at; those that are not there count, too.
        reader: as there.
        read: as there.
        options: what else its answer depends on.
    """
    if sum(map(len, files)) < WORTH_FILES:
        return read()
    place = {"file": [names_digest(each) for each in files], "options": options}
    return _indexed(lambda: {**place, "state": [states_digest(each) for each in files], "reader": reader}, read)


def _indexed(key_now: Callable[[], dict[str, Any]], read: Callable[[], Columns]) -> Columns:
    """What is kept under the key, which is asked for again when all is read."""
    if os.environ.get(_VARIABLE, "").strip().lower() in ("0", "off", "no", "false"):
        return read()
    before = key_now()
    folder = _folder(before)
    found = _opened(folder, before)
    if found is not None:
        return found
    with _alone(folder):
        found = _opened(folder, before)  # another process may have been first
        if found is not None:
            return found
        columns = read()
        if key_now() != before:  # somebody wrote meanwhile: of which of the two is this?
            return columns
        try:
            _write(folder, before, columns)
        except OSError as error:
            _log.warning(
                "%s: no index of annotations could be kept there (%s), so each process reads them anew. Set "
                "MNV2DENSE_CACHE to a folder that has room; %s=off does without an index and without this line.",
                *(folder.parent, error.strerror or error, _VARIABLE),
            )
            return columns
    _make_room(folder)
    # What is mapped is shared; what was read just now would stay this process's own.
    return _opened(folder, before) or columns


def _key(file: Path, reader: str) -> dict[str, Any]:
    """What an index of one file is of."""
    status = file.stat()
    return {
        "file": str(file.resolve()),
        "bytes": status.st_size,
        "changed_ns": status.st_mtime_ns,
        "reader": reader,
    }


def _folder(key: Mapping[str, Any]) -> Path:
    """Of an index; those of one file and reader begin alike."""

    def digest(value: object) -> str:
        return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]

    place = digest([key["file"], key.get("options"), str(key["reader"]).partition(" ")[0]])
    return cache_folder() / "annotations" / f"{place}-{digest(key)}"


def _opened(folder: Path, key: Mapping[str, Any]) -> Columns | None:
    """The index in a folder; None where there is none, or what is there is not what was written."""
    try:
        told = json.loads((folder / "index.json").read_bytes())
        if told["key"] != key:
            return None
        arrays = {name: _mapped(folder / f"{name}.npy", **expected) for name, expected in told["columns"].items()}
        facts = told["facts"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        _log.info("%s: a damaged index (%s); the annotations are read again.", folder, error)
        return None
    with contextlib.suppress(OSError):  # a cache that others own can be read all the same
        os.utime(folder / "index.json")
    return Columns(arrays, facts)


def _mapped(file: Path, *, dtype: str, shape: list[int], crc32: int) -> Column:
    array = np.load(file, mmap_mode="r" if 0 not in shape else None, allow_pickle=False)
    if array.dtype.str != dtype or list(array.shape) != shape or _crc32(array) != crc32:
        raise ValueError(f"{file.name} is not what was written")
    return as_plain(array) if isinstance(array, np.memmap) else array


def _crc32(array: Column) -> int:
    # What is written is so already; a reader may have given a view with gaps.
    return zlib.crc32(np.ascontiguousarray(array).data.cast("B")) if array.size else 0


def _write(folder: Path, key: Mapping[str, Any], columns: Columns) -> None:
    """Write an index under another name, and give it its own when it is whole."""
    new = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        told = {}
        for name, array in columns.arrays.items():
            np.save(new / f"{name}.npy", array, allow_pickle=False)
            told[name] = {"dtype": array.dtype.str, "shape": list(array.shape), "crc32": _crc32(array)}
        content = {"key": key, "columns": told, "facts": columns.facts}
        (new / "index.json").write_text(json.dumps(content), encoding="ascii")
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        new.rename(folder)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _make_room(own: Path) -> None:
    """Delete indexes of the same file as it was before, those that nobody opens, and what killed processes left."""
    place, now = own.name.partition("-")[0], time.time()
    with contextlib.suppress(OSError):
        opened = {}
        for folder in own.parent.iterdir():
            if folder.name.endswith(".new"):
                if now - folder.stat().st_mtime > _LEFTOVER_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
            elif folder.is_dir() and folder != own:
                opened[folder] = _last_opened(folder)
        old = [folder for folder in opened if folder.name.startswith(f"{place}-")]
        others = sorted(set(opened) - set(old), key=lambda folder: -opened[folder])
        for folder in [*old, *others[_KEPT - 1 :]]:
            shutil.rmtree(folder, ignore_errors=True)


def _last_opened(folder: Path) -> float:
    try:
        return (folder / "index.json").stat().st_mtime
    except OSError:
        return 0.0


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold other processes that want this index; where no lock can be had, go on: both write, and one is kept."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder.parent / f".{folder.name.partition('-')[0]}.lock", timeout=_WAIT_SECONDS)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, Timeout, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        lock.release()
