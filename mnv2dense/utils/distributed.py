"""Results of all processes of a run. Every function is a collective call: all processes make it, in the same order.

In a single process, or one that knows of no others, each answers as for a run of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import distributed

T = TypeVar("T")


def rank() -> int:
    """The number of this process, 0 for the first; no collective call."""
    return distributed.get_rank() if _is_one_of_several() else 0


def gathered(value: T) -> list[T]:
    """The value of every process, by rank; the same list everywhere."""
    if not _is_one_of_several():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def gathered_by_id(results: Mapping[int, T]) -> dict[int, T]:
    """The results of all processes; of an image that several saw, that of the lowest rank."""
    everything: dict[int, T] = {}
    for share in gathered(results):
        everything = {**share, **everything}
    return everything


def on_first_process(work: Callable[[], T], *, what: str) -> T:
    """Do it on process 0 alone, and hand the outcome, or the failure, to all.

    Args:
        work: is called there.
        what: it does, for the other processes' message: "compute COCO mAP".

    Raises:
        RuntimeError: on the other processes, where it failed on the first; there it raises what it raised.
    """
    if not _is_one_of_several():
        return work()
    outcome: list[Any] = [None, None]
    failure: Exception | None = None
    if distributed.get_rank() == 0:
        try:
            outcome[0] = work()
        except Exception as error:
            failure, outcome[1] = error, f"{type(error).__name__}: {error}"
    distributed.broadcast_object_list(outcome, src=0)
    if failure is not None:
        raise failure
    if outcome[1] is not None:
        raise RuntimeError(f"process 0 could not {what}: {outcome[1]}")
    done: T = outcome[0]
    return done


def _is_one_of_several() -> bool:
    return distributed.is_available() and distributed.is_initialized()
