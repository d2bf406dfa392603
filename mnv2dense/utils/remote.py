"""Files at an address: over http(s), or in whatever store fsspec has a file system for (s3://, gs://, az://, ...)."""

from __future__ import annotations

import logging
import shutil
import time
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit, urlunsplit

from mnv2dense.utils.download import POLL_SECONDS, DownloadError, WrongHashError, download, fetch, sha256_of

_CHUNK_BYTES = 1 << 20

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long a store is waited for that does not answer, or cuts the connection.

    Attributes:
        retries: further tries, each of which goes on where the last one ended where the store allows that.
        pause_seconds: before the first of them, twice as long before each next one: half a minute in all as it stands.
        timeout_seconds: without a byte.
    """

    retries: int = 6
    pause_seconds: float = 0.5
    timeout_seconds: float = 30.0


def is_address(root: str | Path) -> bool:
    """Whether this is ``scheme://...`` and no folder."""
    return isinstance(root, str) and "://" in root and not root.startswith("file://")


def address_of(root: str, name: str) -> str:
    """The address of a file below ``root``; what stands after a ``?``, such as a signature, stays there."""
    if not _is_web(root):
        return f"{root.rstrip('/')}/{name}"
    parts = urlsplit(root)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))


def read_remote(address: str, *, max_bytes: int, patience: Patience) -> bytes:
    """The contents of a small file.

    Raises:
        DownloadError: no such file, no such store, more bytes than that, or patience came to an end.
        ModuleNotFoundError: the store wants a package that is not installed.
    """
    if _is_web(address):
        return _patiently(
            lambda: fetch(address, max_bytes=max_bytes, timeout_seconds=patience.timeout_seconds),
            address,
            patience,
        )

    def read() -> bytes:
        file_system, path = _store(address)
        with file_system.open(path, "rb") as file:
            content: bytes = file.read(max_bytes + 1)
        return content

    content = _patiently(read, address, patience)
    if len(content) > max_bytes:
        raise DownloadError(f"{address}: more than {max_bytes:,} bytes.")
    return content


def fetch_remote(address: str, target: Path, *, sha256: str, patience: Patience) -> Path:
    """Bring a file here, whole and of this hash or not at all; of processes that ask at once one fetches it.

    What lies at ``target`` already is taken for it: it got its name when its hash was right.

    Raises:
        WrongHashError: the store has another file.
        DownloadError: no such file, no such store, a full disk, or patience came to an end.
        ModuleNotFoundError: the store wants a package that is not installed.
    """
    if target.is_file():
        return target
    if _is_web(address):
        return download(
            address,
            target,
            sha256=sha256,
            progress=False,
            retries=patience.retries,
            pause_seconds=patience.pause_seconds,
            timeout_seconds=patience.timeout_seconds,
            waits_for_server=True,
        )
    from filelock import FileLock

    part = target.with_name(f"{target.name}.part")

    def copy() -> None:
        file_system, path = _store(address)
        with file_system.open(path, "rb") as source, part.open("wb") as file:
            shutil.copyfileobj(source, file, _CHUNK_BYTES)

    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")).acquire(poll_interval=POLL_SECONDS):
        if target.is_file():  # another process was first
            return target
        _patiently(copy, address, patience)
        if (found := sha256_of(part)) != sha256:
            part.unlink()
            raise WrongHashError(f"{address}: what came has the sha256 {found}, expected was {sha256}. It was removed.")
        part.replace(target)
    return target


def _patiently(call: Callable[[], T], address: str, patience: Patience) -> T:
    for further in range(patience.retries, -1, -1):
        try:
            return call()
        except Exception as error:  # stores raise whatever their makers chose
            if not further or _is_final(error):
                _give_up(error, address)
            _log.info("%s: %s; trying again", address, error)
            time.sleep(patience.pause_seconds * 2 ** (patience.retries - further))
    raise AssertionError("the last try returns or fails")


def _is_final(error: Exception) -> bool:
    """Whether the same would come again: what is not there, not allowed, or not understood."""
    cause = error.__cause__
    if isinstance(cause, urllib.error.HTTPError):
        return cause.code < 500 and cause.code not in (408, 429)
    # fetch() tells by the cause what came of the connection; without one it refused on its own.
    refused = isinstance(error, DownloadError) and (cause is None or isinstance(cause, ValueError))
    return refused or isinstance(error, FileNotFoundError | PermissionError | ImportError | ValueError)


def _give_up(error: Exception, address: str) -> NoReturn:
    if isinstance(error, DownloadError | ModuleNotFoundError):
        raise error
    if isinstance(error, FileNotFoundError):
        raise DownloadError(f"{address}: there is no such file.") from error
    raise DownloadError(f"{address}: cannot be read ({str(error) or type(error).__name__}).") from error


def _store(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it; made anew, as a worker must not use its parent's."""
    from fsspec.core import url_to_fs

    try:
        file_system, path = url_to_fs(address)
    except ImportError as error:  # fsspec says which package it wants
        raise ModuleNotFoundError(f"{address}: {error}. Install what it names with pip.") from error
    except ValueError as error:
        raise DownloadError(f"{address}: {error}. http, https and fsspec's stores are read.") from error
    return file_system, str(path)


def _is_web(address: str) -> bool:
    return urlsplit(address).scheme in ("http", "https")
