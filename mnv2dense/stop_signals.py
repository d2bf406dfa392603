"""Being told to stop, remembered until the training loop comes to a good place for it."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, final

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
