"""Times taken in turns with a reference."""

from __future__ import annotations

import itertools
import time

import pytest

from mnv2dense.budget import turns
from mnv2dense.budget.turns import Turns


class Machine:
    """Runs take what they take, times how slow the machine is at the moment."""

    def __init__(self, slowness: list[float]) -> None:
        self.now = 0.0
        self._slowness = itertools.cycle(slowness)
        self._phase, self._until = next(self._slowness), 1.0

    def run(self, milliseconds: float) -> None:
        if self.now > self._until:
            self._phase, self._until = next(self._slowness), self.now + 1.0
        self.now += milliseconds / 1000 * self._phase


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine([1.0, 3.0, 1.0, 2.0])
    monkeypatch.setitem(turns._CLOCKS, "wall", lambda: made.now)
    monkeypatch.setattr(time, "perf_counter", lambda: made.now)
    return made


@pytest.mark.parametrize("milliseconds", [0.5, 2.0, 30.0])
def test_what_slows_the_machine_for_a_while_does_not_show_in_the_ratio(machine: Machine, milliseconds: float) -> None:
    found = Turns(lambda: machine.run(2.0), seconds=20).measure(lambda: machine.run(milliseconds))
    assert found.ratio == pytest.approx(milliseconds / 2, rel=0.01)
    assert 2.0 <= found.reference <= 6.0


def test_both_have_about_the_same_time_in_a_turn() -> None:
    assert turns._even(30, 2) == (1, 15)
    assert turns._even(2, 7) == (4, 1)
    assert turns._even(1000, 1) == (1, 20)
    assert turns._even(2, 2) == (1, 1)
