"""What the processes of a run tell each other; the metrics' tests do it with two real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import distributed

from mnv2dense.utils.distributed import gathered, gathered_by_id, on_first_process, rank


def test_a_process_alone_answers_for_all() -> None:
    assert rank() == 0
    assert gathered("mine") == ["mine"]
    assert gathered_by_id({3: "mine"}) == {3: "mine"}
    assert on_first_process(lambda: 7, what="count") == 7


def among(monkeypatch: pytest.MonkeyPatch, shares: list[Any], *, me: int) -> None:
    """This process is one of several, whose shares are known."""

    def all_gather(values: list[Any], value: object) -> None:
        assert value == shares[me]
        values[:] = shares

    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: len(shares))
    monkeypatch.setattr(distributed, "get_rank", lambda: me)
    monkeypatch.setattr(distributed, "all_gather_object", all_gather)


def test_of_an_image_that_several_saw_the_lowest_rank_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = [{1: "a"}, {1: "b", 2: "b"}, {2: "c", 3: "c"}]
    among(monkeypatch, shares, me=1)
    assert rank() == 1
    assert gathered(shares[1]) == shares
    assert gathered_by_id(shares[1]) == {1: "a", 2: "b", 3: "c"}


def broadcast(outcome: list[Any]) -> Callable[..., None]:
    def act(values: list[Any], src: int) -> None:
        assert src == 0
        values[:] = outcome or values
        outcome[:] = values

    return act


def test_a_failure_of_the_first_process_is_everybodys(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> int:
        raise KeyError("cat")

    sent: list[Any] = []
    monkeypatch.setattr(distributed, "broadcast_object_list", broadcast(sent))
    among(monkeypatch, [None, None], me=0)
    with pytest.raises(KeyError):
        on_first_process(fails, what="count cats")
    among(monkeypatch, [None, None], me=1)
    with pytest.raises(RuntimeError, match="process 0 could not count cats: KeyError: 'cat'"):
        on_first_process(lambda: pytest.fail("only the first works"), what="count cats")


def test_the_first_process_works_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(distributed, "broadcast_object_list", broadcast(sent))
    for me in (0, 1):
        among(monkeypatch, [None, None], me=me)
        assert on_first_process(lambda: 40 + 2 if me == 0 else pytest.fail("again"), what="add") == 42  # noqa: B023
