"""A process whose peers fell silent ends itself; one whose peers left in good order, or were slow, does not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest
from torch.distributed import HashStore, Store

from mnv2dense.training.peer_watch import PeerWatch


class Ended:
    """Stands for the end of a process."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.over = threading.Event()

    def __call__(self, code: int) -> None:
        self.codes.append(code)
        self.over.set()


def watching(store: Store, rank: int, end: Ended) -> PeerWatch:
    watch = PeerWatch(seconds=0.01, missed=3, end=end)
    watch.watch(store, rank, 2)
    return watch


def test_a_process_ends_when_a_peer_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    store, end = HashStore(), Ended()
    store.add("mnv2dense/beats/1", 7)  # it beat once upon a time
    with caplog.at_level(logging.ERROR), watching(store, 0, end):
        assert end.over.wait(60)
    assert end.codes == [1]
    assert "nothing was heard of process 1 for" in caplog.text


def test_a_process_that_left_in_good_order_is_missed_by_nobody() -> None:
    store, end, other = HashStore(), Ended(), Ended()
    with watching(store, 0, end):
        with watching(store, 1, other):
            pass
        assert store.add("mnv2dense/left/1", 0) == 1
        looked = store.add("mnv2dense/beats/0", 0)
        # It has looked far more often than it takes to miss somebody.
        assert until(lambda: store.add("mnv2dense/beats/0", 0) > looked + 20)
        assert not end.codes


def test_a_process_that_ends_in_an_error_is_missed() -> None:
    store, end, other = HashStore(), Ended(), Ended()
    with watching(store, 0, end):
        with pytest.raises(ValueError, match="not finite"), watching(store, 1, other):
            raise ValueError("not finite")
        assert end.over.wait(60)


def until(holds: Callable[[], bool]) -> bool:
    waiting = threading.Event()
    return any(holds() or waiting.wait(0.01) for _ in range(6000))
