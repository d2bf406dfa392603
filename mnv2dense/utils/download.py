"""Files from the web: checked against their hash, resumed after a cut, and whole or not there at all."""

from __future__ import annotations

import hashlib
import http.client
import logging
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import IO, NoReturn, final
from urllib.parse import urlsplit

from mnv2dense.utils.timed_http import Limits, OutOfTimeError, opener

_CHUNK_BYTES = 1 << 18

POLL_SECONDS = 0.01
"""How often a lock is asked for that another process holds: a small file of a near store is there in 50 ms."""

_log = logging.getLogger(__name__)


class DownloadError(OSError):
    """A file that could not be had; the message names it, why, and how to get it otherwise."""


class WrongHashError(ValueError):
    """What came is another file than the one that was asked for; nothing of it is kept."""


def download(
    url: str,
    target: Path,
    *,
    sha256: str,
    progress: bool = True,
    retries: int = 2,
    pause_seconds: float = 1.0,
    timeout_seconds: float = 30.0,
    waits_for_server: bool = False,
) -> Path:
    """The file of this hash: the one at ``target`` if it is there, else fetched.

    What has come so far lies beside the target in ``<name>.part``; after a cut connection the next try asks for the
    rest only. The file takes its name when its hash is right. A file put at ``target`` by hand is checked just so;
    one of another hash is replaced. Of processes that ask at once one fetches and the others wait for it.

    Args:
        url: http or https.
        target: the file; its folder is made.
        sha256: of the whole file, 64 hexadecimal digits, or as many of its first digits as were published, 8 or more.
            Eight digits find damage; against forgery they are weak, and the transport has to be trusted.
        progress: whether to say so, and show a bar where there is a terminal.
        retries: further tries after a cut connection or a server that is busy; each goes on where the last one ended.
        pause_seconds: before the first of them, twice as long before each next one.
        timeout_seconds: without a byte, and for the head of an answer.
        waits_for_server: a server that is not reached is tried again as one that cuts the connection is: what feeds a
            run may be started again.

    Returns:
        ``target``.

    Raises:
        ValueError: ``url`` is of another scheme, or ``sha256`` is no hash.
        WrongHashError: the server has another file.
        DownloadError: no network, no such file, a connection that was cut too often, or a full disk.
    """
    if not re.fullmatch(r"[0-9a-f]{8,64}", sha256.lower()):
        raise ValueError(f"sha256={sha256!r} must be 64 hexadecimal digits, or the first 8 or more of them.")
    if not _is_web(url):
        raise ValueError(f"url={url!r} is refused: files are fetched over http or https.")
    fetch = _Fetch(url, target, sha256.lower(), progress, retries, pause_seconds, timeout_seconds, waits_for_server)
    if fetch.is_done():
        return target
    from filelock import FileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")).acquire(poll_interval=POLL_SECONDS):
            if not fetch.is_done():  # it is, if another process was first
                fetch.run()
    except DownloadError:
        raise
    except OSError as error:
        fetch.fail(
            f"{target.parent} cannot be written: {error}. Make room there, or set MNV2DENSE_CACHE elsewhere", error
        )
    return target


def sha256_of(path: Path) -> str:
    """64 hexadecimal digits of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _InterruptedError(Exception):
    """A connection that ended early: another try may go on where it ended."""


@final
class _Fetch:
    """One file on its way."""

    def __init__(
        self,
        url: str,
        target: Path,
        sha256: str,
        progress: bool,
        retries: int,
        pause: float,
        timeout: float,
        waits_for_server: bool,
    ) -> None:
        self.url = url
        self.target = target
        self.part = target.with_name(f"{target.name}.part")
        self.sha256 = sha256
        self.progress = progress
        self.retries = retries
        self.pause_seconds = pause
        self.timeout_seconds = timeout
        self.waits_for_server = waits_for_server
        self.joined = False  # whether what is there came by more than one request

    def is_done(self) -> bool:
        return self.target.is_file() and sha256_of(self.target).startswith(self.sha256)

    def run(self) -> None:
        # One of many files, without a bar, is nothing to tell.
        level = logging.INFO if self.progress else logging.DEBUG
        _log.log(level, "downloading %s into %s", self.url, self.target.parent)
        found = self._fetch()
        if self.joined and not found.startswith(self.sha256):
            # The beginning was another file's, or damaged; the server's own file has not been seen whole yet.
            self.part.unlink()
            found = self._fetch()
        if not found.startswith(self.sha256):
            self.part.unlink()
            raise WrongHashError(
                f"{self.url}: what came has the sha256 {found}, expected was {self.sha256}"
                f"{'' if len(self.sha256) == 64 else '...'}. It was removed. A proxy or a login page may have "
                f"answered instead: look at the address in a browser, or put the file at {self.target} by hand."
            )
        self.part.replace(self.target)

    def fail(self, reason: str, cause: BaseException) -> NoReturn:
        raise DownloadError(
            f"{self.target.name} could not be downloaded: {reason}. By hand: fetch {self.url} and put it at "
            f"{self.target.absolute()}; it is checked there."
        ) from cause

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _fetch(self) -> str:
        """Until the server has no more to send; the hash of what there is then."""
        for further in range(self.retries, -1, -1):
            try:
                self._request()
                return sha256_of(self.part)
            except _InterruptedError as error:
                if not further:
                    have = self._have()
                    kept = f". {have:,} bytes are in {self.part}, and running again goes on from there" if have else ""
                    self.fail(f"{error}{kept}", error)
                _log.info("%s: %s; trying again", self.url, error)
                time.sleep(self.pause_seconds * 2 ** (self.retries - further))
        raise AssertionError("the last try returns or fails")

    def _request(self) -> None:
        """Ask for what is missing, and append it."""
        have = self._have()
        request = urllib.request.Request(self.url, headers={"User-Agent": "mnv2dense", "Accept-Encoding": "identity"})
        if have:
            request.add_header("Range", f"bytes={have}-")
        try:
            limits = Limits(self.timeout_seconds, head_seconds=self.timeout_seconds)
            response = opener(limits, _WebRedirects).open(request, timeout=self.timeout_seconds)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and have:
                self.joined = True
                return  # nothing is missing, or what is there belongs to another file: its hash will tell
            if error.code in (408, 429) or error.code >= 500:
                raise _InterruptedError(f"the server answers {error.code} {error.reason}") from error
            self.fail(f"the server answers {error.code} {error.reason}", error)
        except urllib.error.URLError as error:
            said = f"{urlsplit(self.url).netloc} is not reached ({error.reason})"
            if self.waits_for_server:
                raise _InterruptedError(said) from error
            self.fail(said, error)
        except _RedirectRefusedError as error:
            self.fail(str(error), error)
        except (OSError, http.client.HTTPException) as error:
            raise _InterruptedError(f"the server does not answer ({str(error) or type(error).__name__})") from error
        with response:
            if response.status == 206 and _first_byte(response.headers) != have:
                self.part.unlink(missing_ok=True)
                raise _InterruptedError("the server sent another part than was asked for")
            # A server that knows no ranges sends the whole file again.
            self.joined = have > 0 and response.status == 206
            self._append(response, have if self.joined else 0)

    def _append(self, response: http.client.HTTPResponse, have: int) -> None:
        try:
            length = _length(response.headers)
        except ValueError as error:
            self.fail(str(error), error)
        total = None if length is None else have + length
        with (
            self.part.open("ab" if have else "wb") as file,
            _bar(self.target.name, have, total, self.progress) as advance,
        ):
            while True:
                try:
                    chunk = response.read(_CHUNK_BYTES)
                except (OSError, http.client.HTTPException) as error:
                    raise _InterruptedError(f"the connection was cut ({str(error) or type(error).__name__})") from error
                if not chunk:
                    break
                file.write(chunk)
                have += len(chunk)
                advance(len(chunk))
        if total is not None and have < total:
            raise _InterruptedError(f"the connection was cut after {have:,} of {total:,} bytes")


class _RedirectRefusedError(Exception):
    """The server points somewhere this does not follow."""


class _WebRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        # From https to http would give up what makes a published prefix of a hash enough.
        if not _is_web(newurl) or (req.full_url.startswith("https:") and not newurl.startswith("https:")):
            fp.close()
            raise _RedirectRefusedError(f"the server redirects to {newurl}, which is refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _is_web(url: str) -> bool:
    return urlsplit(url).scheme in ("http", "https")


def _length(headers: Message) -> int | None:
    """How many bytes are announced; None where nobody says.

    Raises:
        ValueError: no number.
    """
    said = headers.get("Content-Length")
    if said is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", said.strip()):
        raise ValueError(f"the server says Content-Length: {said!r:.60}, which is no number of bytes")
    return int(said)


def _first_byte(headers: Message) -> int | None:
    """Of the part that a 206 answer holds: ``Content-Range: bytes 100-199/200``."""
    found = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return int(found[1]) if found else None


@contextmanager
def _bar(name: str, done: int, total: int | None, wanted: bool) -> Iterator[Callable[[int], None]]:
    if not wanted or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total, completed=done)
        yield lambda count: bar.advance(task, count)


def fetch(url: str, *, max_bytes: int, timeout_seconds: float = 30.0, limit_seconds: float = 120.0) -> bytes:
    """What is at an address, for files that nobody published a hash of; it is kept nowhere.

    Args:
        url: http or https; redirects from https to http are not followed.
        max_bytes: more than this is not read.
        timeout_seconds: without an answer or a byte.
        limit_seconds: for all of it, so that a server cannot keep a caller waiting with a byte now and then.

    Raises:
        ValueError: another scheme.
        DownloadError: no network, an error of the server's, a cut connection, too many bytes or seconds.
    """
    if not _is_web(url):
        raise ValueError(f"url={url!r} is refused: files are fetched over http or https.")
    request = urllib.request.Request(url, headers={"User-Agent": "mnv2dense", "Accept-Encoding": "identity"})
    limits = Limits(timeout_seconds, limit_seconds, limit_seconds, time.monotonic())
    content = bytearray()
    try:
        with opener(limits, _WebRedirects).open(request, timeout=timeout_seconds) as response:
            length = _length(response.headers)
            while chunk := response.read1(_CHUNK_BYTES):
                content += chunk
                if len(content) > max_bytes:
                    raise DownloadError(f"{url}: more than {max_bytes:,} bytes; fetch it by hand if that is right.")
    except urllib.error.HTTPError as error:
        error.close()
        raise DownloadError(f"{url}: the server answers {error.code} {error.reason}.") from error
    except urllib.error.URLError as error:
        raise DownloadError(f"{url}: {urlsplit(url).netloc} is not reached ({error.reason}).") from error
    except _RedirectRefusedError as error:
        raise DownloadError(f"{url}: {error}.") from error
    except DownloadError:
        raise
    except OutOfTimeError as error:
        raise DownloadError(f"{url}: {error}; fetch it by hand.") from error
    except ValueError as error:
        raise DownloadError(f"{url}: {error}.") from error
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"{url}: the connection was cut ({str(error) or type(error).__name__}).") from error
    if length is not None and len(content) < length:
        cut = http.client.IncompleteRead(bytes(content), length - len(content))
        raise DownloadError(f"{url}: the connection was cut after {len(content):,} of {length:,} bytes.") from cut
    return bytes(content)
