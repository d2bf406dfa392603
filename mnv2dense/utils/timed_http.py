"""HTTP that ends in time: urllib's own timeout begins anew with every byte, so that a server that drips never ends."""

from __future__ import annotations

import functools
import http.client
import io
import socket
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class OutOfTimeError(TimeoutError):
    """What was to come is not whole in its time; the message says how long that was."""


@final
@dataclass(frozen=True)
class Limits:
    """How long to wait.

    Attributes:
        pause_seconds: without a byte.
        head_seconds: for the whole head of an answer.
        all_seconds: for everything, from ``begun`` on; None where only the user ends it.
        begun: of the monotonic clock.
    """

    pause_seconds: float
    head_seconds: float
    all_seconds: float | None = None
    begun: float = 0.0


def opener(limits: Limits, *handlers: urllib.request.BaseHandler | type) -> urllib.request.OpenerDirector:
    """urllib's, with these limits on http and https."""
    return urllib.request.build_opener(_HTTP(limits), _HTTPS(limits), *handlers)


class _HTTP(urllib.request.HTTPHandler):
    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self._limits = limits

    def do_open(self, http_class: Any, req: Any, **options: Any) -> http.client.HTTPResponse:  # noqa: ANN401
        return super().do_open(_timed(http_class, self._limits), req, **options)


class _HTTPS(urllib.request.HTTPSHandler):
    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self._limits = limits

    def do_open(self, http_class: Any, req: Any, **options: Any) -> http.client.HTTPResponse:  # noqa: ANN401
        return super().do_open(_timed(http_class, self._limits), req, **options)


def _timed(http_class: Any, limits: Limits) -> Callable[..., Any]:  # noqa: ANN401 - a class of connections
    def connection(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        made = http_class(*arguments, **options)
        made.response_class = functools.partial(_Response, limits=limits)
        return made

    return connection


class _Response(http.client.HTTPResponse):
    """Its head ends in time, and its body where that is limited."""

    def __init__(self, sock: socket.socket, *arguments: Any, limits: Limits, **options: Any) -> None:  # noqa: ANN401
        super().__init__(sock, *arguments, **options)
        self.fp.close()
        self._limits = limits
        self._reader = _Reader(sock, limits.pause_seconds)
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        """Read the head."""
        limits = self._limits
        self._reader.end_after(limits.head_seconds, time.monotonic())
        if limits.all_seconds is not None and limits.begun + limits.all_seconds < self._reader.deadline:
            self._reader.end_after(limits.all_seconds, limits.begun)
        super().begin()
        if limits.all_seconds is None:
            self._reader.never_end()
        else:
            self._reader.end_after(limits.all_seconds, limits.begun)


class _Reader(io.RawIOBase):
    """The bytes of a connection until a deadline."""

    def __init__(self, sock: socket.socket, pause_seconds: float) -> None:
        self._raw = sock.makefile("rb", buffering=0)
        self._sock = sock
        self._pause = pause_seconds
        self._seconds = 0.0
        self.deadline = float("inf")

    def end_after(self, seconds: float, begun: float) -> None:
        self._seconds, self.deadline = seconds, begun + seconds

    def never_end(self) -> None:
        self.deadline = float("inf")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        left = self.deadline - time.monotonic()
        if left > 0:
            self._sock.settimeout(min(self._pause, left))
            try:
                return self._raw.readinto(buffer)
            except TimeoutError:
                if self.deadline > time.monotonic():
                    raise
        raise OutOfTimeError(f"not whole after {self._seconds:g} s")

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()
