"""The head of an HTTP request, read within limits of bytes and of time."""

from __future__ import annotations

import io
import re
import socket
import time
from typing import Final, final

LARGEST_HEAD: Final = 32 * 1024
"""Bytes of request line and headers together."""

# A folded header goes on in the next line, a spaced one has blanks before its colon, and a lone carriage return is an
# end of line to some: one that reads a head otherwise than its neighbour can be told two requests in one (RFC 9112, 5).
_HEADER = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00\r\n]*)?\r?\n")


@final
class HeadReader:
    """In the place of a handler's ``rfile``: lines of a request's head, however slowly they trickle in.

    A head past :data:`LARGEST_HEAD` looks like one endless line, which :mod:`http.server` answers with 414 or 431.

    Args:
        stream: of the connection.
        connection: whose timeout is set before every wait.

    Attributes:
        is_plain: whether all headers so far are a name, a colon and a value, each on a line of its own.
    """

    def __init__(self, stream: io.BufferedReader, connection: socket.socket) -> None:
        self._stream = stream
        self._connection = connection
        self.is_plain = True
        self._lines = 0
        self._left = 0
        self._deadline = 0.0

    def start(self, patience_seconds: float) -> None:
        """Of each request on a connection."""
        self.is_plain = True
        self._lines = 0
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
        self._lines += 1
        if self._lines > 1 and not _HEADER.fullmatch(line):
            self.is_plain = False
        return line

    def close(self) -> None:
        """The stream, too."""
        self._stream.close()

    @property
    def closed(self) -> bool:
        """Whether the stream is."""
        return self._stream.closed
