"""Times on a machine that is never quite still: a network takes turns with a reference that they all have."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, final

Clock = Literal["wall", "cpu"]
"""What counts: time that passes, or the processor's own, which waiting for a core does not add to."""

_CLOCKS: dict[Clock, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


class Compared(NamedTuple):
    """What a network took beside the reference.

    Attributes:
        ratio: how many times as long as the reference; the median of the turns.
        reference: milliseconds of the reference meanwhile, likewise.
    """

    ratio: float
    reference: float


@final
@dataclass(frozen=True)
class Turns:
    """Network and reference in turns, each with about as much time as the other.

    What slows the machine for a while slows both, and hardly shows in their ratio.

    Args:
        reference: runs once.
        clock: see :data:`Clock`.
        seconds: that a network is measured for, with the reference's turns and after warming up.
        least: turns at least, however long they take.
    """

    reference: Callable[[], object]
    clock: Clock = "wall"
    seconds: float = 1.0
    least: int = 5

    def measure(self, run: Callable[[], object]) -> Compared:
        """One network."""
        for _ in range(3):  # the first runs lay out memory and choose kernels
            run()
        once, reference = self._timed(run, 1), self._timed(self.reference, 1)
        runs, references = _even(once, reference)
        ratios: list[float] = []
        alone: list[float] = []
        until = time.perf_counter() + self.seconds
        while len(ratios) < self.least or time.perf_counter() < until:
            before = self._timed(self.reference, references)
            own = self._timed(run, runs)
            after = self._timed(self.reference, references)
            if before + after > 0:
                ratios.append(2 * own / (before + after))
                alone += [before, after]
        return Compared(statistics.median(ratios), statistics.median(alone))

    def _timed(self, run: Callable[[], object], runs: int) -> float:
        """Milliseconds of one run, the mean of so many."""
        clock = _CLOCKS[self.clock]
        start = clock()
        for _ in range(runs):
            run()
        return 1000 * (clock() - start) / runs


def _even(first: float, second: float, *, most: int = 20) -> tuple[int, int]:
    """How often each runs in a turn, so that both take about as long; one of them once."""
    if first >= second:
        return 1, max(1, min(most, round(first / max(second, 1e-6))))
    return max(1, min(most, round(second / max(first, 1e-6)))), 1
