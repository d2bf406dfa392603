"""The head of an HTTP request, read within limits of bytes and of time."""

from __future__ import annotations

import io
import socket
import time
from typing import Final, final

LARGEST_HEAD: Final = 32 * 1024
"""Bytes of request line and headers together."""


@final
class HeadReader:
    """In the place of a handler's ``rfile``: lines of a request's head, however slowly they trickle in.

    A head past :data:`LARGEST_HEAD` looks like one endless line, which :mod:`http.server` answers with 414 or 431.

    Args:
        stream: of the connection.
        connection: whose timeout is set before every wait.
    """

    def __init__(self, stream: io.BufferedReader, connection: socket.socket) -> None:
        self._stream = stream
        self._connection = connection
        self._left = 0
        self._deadline = 0.0

    def start(self, patience_seconds: float) -> None:
        """Of each request on a connection."""
        self._left = LARGEST_HEAD
        self._deadline = time.monotonic() + patience_seconds

    def readline(self, limit: int = -1) -> bytes:
        """The next line, or what there is of it at the connection's end.

        Raises:
            TimeoutError: the head is not whole in time.
        """
        line = b""
        while not line.endswith(b"\n"):
            remaining = self._deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError("the request's head took too long")
            self._connection.settimeout(remaining)
            window = self._stream.peek(1)  # waits for the network once at most
            end = window.find(b"\n") + 1 or len(window)
            if not end:
                break
            line += self._stream.read(end)
            self._left -= end
            if self._left < 0:
                return b"x" * (limit if limit > 0 else LARGEST_HEAD)
        return line

    def close(self) -> None:
        """The stream, too."""
        self._stream.close()

    @property
    def closed(self) -> bool:
        """Whether the stream is."""
        return self._stream.closed
