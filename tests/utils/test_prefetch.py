from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from mnv2dense.utils.prefetch import WriteBehind, read_ahead


def test_items_keep_their_order_and_are_taken_in_another_thread() -> None:
    threads = set()

    def items() -> Iterator[int]:
        for number in range(50):
            threads.add(threading.current_thread())
            yield number

    assert list(read_ahead(items())) == list(range(50))
    assert threading.current_thread() not in threads


def test_no_more_is_read_ahead_than_fits_into_memory() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    ahead = read_ahead(items())
    assert next(ahead) == 0
    _wait_until(lambda: len(taken) == 6)  # one given, four that wait, one in the hand
    time.sleep(0.05)
    assert len(taken) == 6
    ahead.close()


def test_what_reading_raises_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    ahead = read_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(ahead)


def test_whoever_stops_early_leaves_no_thread_and_no_open_generator() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.active_count()
    ahead = read_ahead(items())
    next(ahead)
    ahead.close()
    assert closed.is_set()
    assert threading.active_count() == before


def test_a_camera_gives_its_newest_image_and_its_last() -> None:
    seen, worked = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 0
        seen.wait(10)
        yield from range(1, 10)
        worked.set()

    ahead = read_ahead(items(), newest=True)
    assert next(ahead) == 0
    seen.set()
    worked.wait(10)
    assert list(ahead) == [9]


def test_writing_keeps_the_order_and_ends_with_the_context() -> None:
    written: list[int] = []

    def write(item: int) -> None:
        time.sleep(0.001)
        written.append(item)

    with WriteBehind(write) as behind:
        for number in range(30):
            behind.put(number)
    assert written == list(range(30))


def test_what_was_put_is_written_although_the_work_failed() -> None:
    written: list[int] = []

    def work() -> None:
        with WriteBehind(written.append) as behind:
            behind.put(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert written == [1]


def test_what_writing_raises_reaches_the_worker_and_drops_the_rest() -> None:
    tried: list[int] = []

    def write(item: int) -> None:
        tried.append(item)
        raise OSError("no space left")

    def work() -> None:
        with WriteBehind(write) as behind:
            for number in range(1000):
                behind.put(number)

    with pytest.raises(OSError, match="no space left"):
        work()
    assert tried == [0]


def test_a_failure_of_the_last_item_is_not_lost() -> None:
    def write(item: int) -> None:
        raise OSError(f"no space left for {item}")

    def work() -> None:
        with WriteBehind(write) as behind:
            behind.put(1)

    with pytest.raises(OSError, match="no space left for 1"):
        work()


def _wait_until(is_so: object) -> None:
    assert callable(is_so)
    end = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end, "waited ten seconds"
        time.sleep(0.001)


def test_of_large_items_fewer_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnv2dense.utils.prefetch._BYTES", 100)
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    ahead = read_ahead(items(), bytes_of=lambda number: 60)
    assert next(ahead) == 0
    _wait_until(lambda: len(taken) == 4)  # one given, two that wait, one in the hand
    time.sleep(0.05)
    assert len(taken) == 4
    assert next(ahead) == 1
    _wait_until(lambda: len(taken) == 5)
    ahead.close()


def test_an_item_larger_than_what_may_wait_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnv2dense.utils.prefetch._BYTES", 1)
    written: list[int] = []
    with WriteBehind(written.append, bytes_of=lambda number: 1000) as behind:
        for number in range(20):
            behind.put(number)
    assert written == list(range(20))
