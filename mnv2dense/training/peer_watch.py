"""Ends a process whose peers live no more: collective operations would wait half an hour for them, or for ever."""

from __future__ import annotations

import logging
import os
import threading
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self, final

import pytorch_lightning as pl

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.distributed.distributed_c10d import Store

_log = logging.getLogger(__name__)

# What a thread of C++ may keep Python from beating for is shorter: the parsing of a large json is some ten seconds.
_SECONDS_BETWEEN_BEATS = 5.0
_BEATS_MISSED = 9

_CANNOT_GO_ON = 1


@final
class PeerWatch(pl.Callback):
    """Each process of a run counts up in the store that they met by, and looks whether the others do.

    gloo notices at once that a peer was killed, as its connections close. NCCL does not, nor does either notice a
    machine that is gone or a process that stands still. A process that hears nothing of a peer, or of the store, for
    45 s ends itself, in whatever operation it hangs; torchrun, SLURM or Lightning then ends or restarts all of them.

    A context around all that the processes do together. Those that leave it in good order are missed by nobody. In a
    run of one process, nothing is done.

    Args:
        seconds: between two beats.
        missed: beats of one's own without one of a peer, after which it counts as lost. Counted, not timed: a process
            that was stopped and goes on hears the others again before it has counted so far.
        end: how the process ends; without clean-up, for which the main thread would be needed.
    """

    def __init__(
        self,
        *,
        seconds: float = _SECONDS_BETWEEN_BEATS,
        missed: int = _BEATS_MISSED,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self.seconds = seconds
        self.missed = missed
        self.end = end
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._store: Store | None = None
        self._rank = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Begin, now that the processes know of each other."""
        from torch import distributed

        if trainer.world_size > 1 and self._thread is None and distributed.is_initialized():
            # The default one has no public name. Of a clone, calls do not wait for those of the main thread.
            self.watch(distributed.distributed_c10d._get_default_store(), trainer.global_rank, trainer.world_size)

    def watch(self, store: Store, rank: int, processes: int) -> None:
        """Begin, as process ``rank`` of so many."""
        self._rank = rank
        self._store = store.clone()
        self._store.set_timeout(timedelta(seconds=self.seconds))
        self._store.set(_left(rank), "0")  # of a run before, in the same processes
        peers = [peer for peer in range(processes) if peer != rank]
        self._thread = threading.Thread(target=self._beat, args=(self._store, peers), name="peer watch", daemon=True)
        self._thread.start()

    def _beat(self, store: Store, peers: list[int]) -> None:
        heard, silent = dict.fromkeys(peers, -1), dict.fromkeys(peers, 0)
        left: set[int] = set()
        unheard = 0
        while not self._over.wait(self.seconds):
            try:
                store.add(_beats(self._rank), 1)
                for peer in peers:
                    if store.add(_left(peer), 0):
                        left.add(peer)
                    beats = store.add(_beats(peer), 0)
                    silent[peer] = 0 if beats != heard[peer] or peer in left else silent[peer] + 1
                    heard[peer] = beats
                unheard = 0
            except RuntimeError:
                unheard += 1
            lost = [f"process {peer}" for peer in peers if silent[peer] >= self.missed]
            if unheard >= self.missed and 0 not in left:  # it keeps the store, where no torchrun does
                lost.append("what started the run")
            if lost and not self._over.is_set():
                _log.error(
                    "process %d: nothing was heard of %s for %.0f s; this one ends too, as it would wait for ever.",
                    *(self._rank, " and ".join(lost), self.missed * self.seconds),
                )
                self.end(_CANNOT_GO_ON)
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop. Where an error ends this process, the others are to miss it."""
        self._over.set()
        if self._thread is None or self._store is None:
            return
        self._thread.join()
        if kind is None or kind is SystemExit:
            try:
                self._store.add(_left(self._rank), 1)
            except RuntimeError:  # the first process has gone already
                _log.debug("the store is gone")


def _beats(rank: int) -> str:
    return f"mnv2dense/beats/{rank}"


def _left(rank: int) -> str:
    return f"mnv2dense/left/{rank}"
