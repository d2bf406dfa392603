"""Connections that wait for a request: few for each client, so that nobody takes all the places there are."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Final, final

MOST_WAITING: Final = 16
"""Of one address; browsers open six, and close or open them again as they like."""


@final
class WaitingConnections:
    """Hangs up on the connection that has waited longest, where its client has another one too many."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[str, dict[socket.socket, None]] = {}  # in the order in which they began to wait

    def count(self) -> int:
        """How many wait, of all clients."""
        with self._lock:
            return sum(map(len, self._of.values()))

    def add(self, address: str, connection: socket.socket) -> None:
        """Its request's head is still to come, or to end."""
        with self._lock:
            waiting = self._of.setdefault(address, {})
            waiting.pop(connection, None)
            waiting[connection] = None
            oldest = next(iter(waiting)) if len(waiting) > MOST_WAITING else None
            if oldest is not None:
                del waiting[oldest]
        if oldest is not None:
            _hang_up(oldest)

    def remove(self, address: str, connection: socket.socket) -> None:
        """Its request is here, or it has ended."""
        with self._lock:
            waiting = self._of.get(address, {})
            waiting.pop(connection, None)
            if not waiting:
                self._of.pop(address, None)


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):  # it may be gone already
        connection.shutdown(socket.SHUT_RDWR)  # its thread reads the end, and closes it
