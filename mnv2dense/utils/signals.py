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
        self._is_saving = False

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

    @contextmanager
    def saving(self) -> Iterator[None]:
        """What no Ctrl-C may break off: torch writes files in C++, where an exception would abort the process."""
        self._is_saving = True
        try:
            yield
        finally:
            self._is_saving = False

    def _remember(self, number: int, frame: FrameType | None) -> None:
        # Whoever presses Ctrl-C twice means now, which in a save is as soon as the file is whole.
        if self.received == signal.SIGINT == number and not self._is_saving:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        if number == signal.SIGINT:
            # os.write and not print: the handler may have interrupted a print, which allows none inside it.
            os.write(2, _IN_A_SAVE if self._is_saving else _IN_A_BATCH)


_IN_A_BATCH = b"\nStopping after this batch; Ctrl-C again stops at once, without saving.\n"
_IN_A_SAVE = b"\nStopping when the checkpoint is written.\n"


@final
class OneInterrupt:
    """Ctrl-C (SIGINT) or SIGTERM raises ``KeyboardInterrupt`` in the work, once; files are completed undisturbed.

    So does SIGUSR1 with ``warned=True``, SLURM's warning; who does not take it dies of it.

    A context around both, with the work in :meth:`work`. Changes nothing outside the main thread, where Python allows
    no handlers, and nothing of a signal that is ignored, as SIGINT is of programs that run behind a shell.

    Attributes:
        received: the first signal that came, None as long as none has.
    """

    def __init__(self, *, warned: bool = False) -> None:
        self.received: signal.Signals | None = None
        names = _NAMES if warned else ("SIGINT", "SIGTERM")
        self._numbers = [signal.Signals[name] for name in names if hasattr(signal, name)]
        self._is_heard = False
        self._handlers_before: dict[signal.Signals, Any] = {}

    @contextmanager
    def work(self) -> Iterator[None]:
        """What a signal may end, also one that came before it began.

        Raises:
            KeyboardInterrupt: one came.
        """
        self._is_heard = True
        try:
            if self.received is not None:
                raise KeyboardInterrupt
            yield
        finally:
            self._is_heard = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in self._numbers:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._handlers_before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._handlers_before = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number)
        if self._is_heard:
            self._is_heard = False
            raise KeyboardInterrupt
