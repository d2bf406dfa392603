"""Reading and writing beside the work: what comes next is read, and what is done is written, in threads of their own.

Decoders, encoders and the model spend their time outside Python, so that they run at once. Queues are short: memory
holds a handful of items, however many there are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, final

T = TypeVar("T")

_DEPTH = 4
"""Items that wait; more would only take memory."""

_BYTES = 2**28
"""That they hold together before the last of them; four photos of 22 megapixels."""

# How long a thread sleeps before it asks whether it is still needed, seconds; and how long the work's end waits for one
# that sits in a read that nothing may ever answer.
_PATIENCE = 0.1
_FAREWELL = 2.0


class _Waiting(Queue[T]):
    """A queue that is full with so many items, or when they hold :data:`_BYTES`."""

    def __init__(self, depth: int, bytes_of: Callable[[T], int]) -> None:
        self._bytes_of = bytes_of
        self._bytes = 0
        super().__init__(depth)

    def _put(self, item: T) -> None:
        super()._put(item)
        self._bytes += self._bytes_of(item)

    def _get(self) -> T:
        item = super()._get()
        self._bytes -= self._bytes_of(item)
        return item

    def _qsize(self) -> int:
        count = super()._qsize()
        return max(count, self.maxsize) if count and self._bytes >= _BYTES else count


def _nothing(_: object) -> int:
    return 0


def read_ahead(items: Iterable[T], *, newest: bool = False, bytes_of: Callable[[T], int] = _nothing) -> Generator[T]:
    """The same items in the same order, taken in a thread while the last one is worked on.

    Args:
        items: taken, and closed if it is a generator, in that thread.
        newest: never fall behind: of items that came during the work the last alone is given. For cameras.
        bytes_of: what an item holds; fewer large ones wait.

    Raises:
        Exception: what ``items`` raises, after those that came before.
    """
    waiting: Queue[tuple[bool, Any]] = _Waiting(
        1 if newest else _DEPTH, lambda entry: bytes_of(entry[1]) if entry[0] else 0
    )
    stopped = threading.Event()

    def put(entry: tuple[bool, Any]) -> None:
        while not stopped.is_set():
            with suppress(Full):
                waiting.put(entry, timeout=0 if newest else _PATIENCE)
                return
            if newest:
                with suppress(Empty):  # whoever works has just taken it
                    waiting.get_nowait()

    def take() -> None:
        end: BaseException | None = None
        iterator = iter(items)
        try:
            for item in iterator:
                put((True, item))
                if stopped.is_set():
                    break
        except BaseException as error:  # carried to whoever asks for the next item
            end = error
        finally:
            if hasattr(iterator, "close"):
                iterator.close()
        if newest and end is None:  # the last image is still wanted
            while not waiting.empty() and not stopped.is_set():
                stopped.wait(_PATIENCE)
        put((False, end))

    thread = threading.Thread(target=take, name="read ahead", daemon=True)
    thread.start()
    try:
        while True:
            is_item, content = waiting.get()
            if is_item:
                yield content
            elif content is None:
                return
            else:
                raise content
    finally:
        stopped.set()
        thread.join(_FAREWELL)


@final
class WriteBehind(Generic[T]):
    """Calls a function with one item after the other, in their order, in a thread of its own.

    A context: at its end, whatever it ends by, all that was put is written.

    Args:
        write: what it raises, the next :meth:`put` or the context's end raises; later items are dropped.
        bytes_of: what an item holds; fewer large ones wait.
    """

    def __init__(self, write: Callable[[T], None], *, bytes_of: Callable[[T], int] = _nothing) -> None:
        self._write = write
        self._waiting: Queue[T | _End] = _Waiting(_DEPTH, lambda item: 0 if isinstance(item, _End) else bytes_of(item))
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="write behind", daemon=True)

    def put(self, item: T) -> None:
        """Have ``item`` written; waits while too many wait already."""
        self._raise_problem()
        self._waiting.put(item)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.put(_End())
        self._thread.join()
        if error is None:
            self._raise_problem()

    def _work(self) -> None:
        while not isinstance(item := self._waiting.get(), _End):
            if self._problem is None:
                try:
                    self._write(item)
                except BaseException as error:  # carried to the thread that puts
                    self._problem = error

    def _raise_problem(self) -> None:
        if self._problem is not None:
            raise self._problem


class _End:
    """Stands for "no more"."""
