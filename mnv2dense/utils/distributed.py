"""The processes of a run: which one this is, and what they tell each other.

Every function but the first two is a collective call: all processes make it, in the same order. In a single process, or
one that knows of no others, each answers as for a run of one. Torch is loaded when they are called: who only asks which
process this is does not wait for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

# Where a launcher says it, in the order in which Lightning looks.
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


def is_first_process() -> bool:
    """Whether this process is the one that writes and speaks for all of a run."""
    # Lightning knows of processes that it started itself, but nobody should wait for its import only to ask.
    if (loaded := sys.modules.get("lightning_utilities.core.rank_zero")) is not None:
        return int(getattr(loaded.rank_zero_only, "rank", 0) or 0) == 0
    return int(next((os.environ[name] for name in _RANKS if name in os.environ), 0)) == 0


def rank() -> int:
    """The number of this process, 0 for the first; no collective call."""
    from torch import distributed

    return distributed.get_rank() if _is_one_of_several() else 0


def gathered(value: T) -> list[T]:
    """The value of every process, by rank; the same list everywhere."""
    if not _is_one_of_several():
        return [value]
    from torch import distributed

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
    from torch import distributed

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
    from torch import distributed

    return distributed.is_available() and distributed.is_initialized()
