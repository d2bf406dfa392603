"""Being told to stop: remembered until a training loop comes to a good place for it, or heard in the work alone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self, final

# SIGUSR1 is what SLURM is usually asked to send some minutes before it takes a node away (--signal=USR1@300).
_NAMES = ("SIGTERM", "SIGINT", "SIGUSR1")


@final
class StopSignals:
    """Takes over SIGTERM, SIGINT (Ctrl-C) and SIGUSR1, where the platform has them.

    Attributes:
        received: the first signal that came, None as long as none has.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._handlers_before: dict[signal.Signals, Any] = {}

    def listen(self) -> None:
        """Take the signals over. Does nothing outside the main thread, where Python allows no handlers."""
        self.received = None
        if threading.current_thread() is not threading.main_thread() or self._handlers_before:
            return
        for name in _NAMES:
            if hasattr(signal, name):
                number = signal.Signals[name]
                self._handlers_before[number] = signal.signal(number, self._remember)

    def release(self) -> None:
        """Put back the handlers that were there before."""
        for number, handler in self._handlers_before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._handlers_before = {}

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.received == signal.SIGINT == number:  # whoever presses Ctrl-C twice means now
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        if number == signal.SIGINT:
            # os.write and not print: the handler may have interrupted a print, which allows none inside it.
            os.write(2, b"\nStopping after this batch; Ctrl-C again stops at once, without saving.\n")


@final
class OneInterrupt:
    """Ctrl-C (SIGINT) raises ``KeyboardInterrupt`` in the work, once, and is not heard while files are completed.

    A context around both, with the work in :meth:`work`. Changes nothing outside the main thread, where Python allows
    no handlers, or where SIGINT is ignored, as it is of programs that run behind a shell.
    """

    def __init__(self) -> None:
        self._came = self._is_heard = self._is_listening = False
        self._handler_before: Any = None

    @contextmanager
    def work(self) -> Iterator[None]:
        """What Ctrl-C may end, also one that came before it began.

        Raises:
            KeyboardInterrupt: Ctrl-C.
        """
        self._is_heard = True
        try:
            if self._came:
                raise KeyboardInterrupt
            yield
        finally:
            self._is_heard = False

    def __enter__(self) -> Self:
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._is_listening = in_main_thread and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
        if self._is_listening:
            self._handler_before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_listening:
            signal.signal(signal.SIGINT, signal.SIG_DFL if self._handler_before is None else self._handler_before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._came = True
        if self._is_heard:
            self._is_heard = False
            raise KeyboardInterrupt
