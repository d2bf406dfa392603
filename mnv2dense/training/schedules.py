"""Learning-rate schedules: an optimiser step in, a factor of the base learning rate out.

Each schedule is a callable for :class:`torch.optim.lr_scheduler.LambdaLR`, stepped once per optimiser step::

    scheduler = LambdaLR(optimizer, Cosine(total_steps=10_000, warmup=0.05))

In YAML a schedule is a ``_partial_`` that the task completes with ``total_steps``, so that the same file
serves a run of any length: durations are fractions of the run. The attributes are plain numbers, which
LambdaLR writes into its own state: a resumed run goes on with the schedule it was started with.

Every schedule begins with the same linear warm-up; what follows it gets the *progress*, 0 at the end of the
warm-up and 1 at the end of the run. So they all share these arguments:

- ``total_steps``: optimiser steps of the whole run, at least 1.
- ``warmup``: length of the rise; a fraction of the run if a float (0.05), optimiser steps if an int (500).
- ``warmup_start``: factor at step 0, 0..1. A plain 0 would waste the first step.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import final


class _Warmup:
    """The rise from ``warmup_start`` to 1, and the progress after it.

    A base class and not a part of each schedule, because LambdaLR saves a schedule's ``__dict__``: with
    nothing but numbers in it the checkpoint stays loadable with ``weights_only=True``.
    """

    def __init__(self, *, total_steps: int, warmup: float, warmup_start: float) -> None:
        if total_steps < 1:
            raise ValueError(f"total_steps={total_steps}: a schedule needs at least one optimiser step")
        if not 0 <= warmup_start <= 1:
            raise ValueError(f"warmup_start={warmup_start}: a factor of the learning rate, so within 0..1")
        self.total_steps = total_steps
        self.warmup_steps = _steps("warmup", warmup, total_steps)
        self.warmup_start = warmup_start

    def rise(self, step: int) -> float | None:
        """Factor while warming up, None afterwards."""
        if step >= self.warmup_steps:
            return None
        return self.warmup_start + (1 - self.warmup_start) * step / self.warmup_steps

    def progress(self, step: int) -> float:
        """0 at the end of the warm-up, 1 at the end of the run and beyond."""
        return min(1.0, (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps))


@final
class Constant(_Warmup):
    """Warm-up, then the base learning rate to the end; arguments at the top of this module."""

    def __init__(self, *, total_steps: int, warmup: float = 0.0, warmup_start: float = 0.001) -> None:
        super().__init__(total_steps=total_steps, warmup=warmup, warmup_start=warmup_start)

    def __call__(self, step: int) -> float:
        """Factor of the base learning rate at ``step``, 0-based."""
        rise = self.rise(step)
        return 1.0 if rise is None else rise


@final
class Cosine(_Warmup):
    """Warm-up, then half a cosine down to ``final`` (Loshchilov & Hutter 2017, without restarts).

    Args:
        total_steps: this, ``warmup`` and ``warmup_start``: see the top of this module.
        final: factor at the end of the run, 0..1.
    """

    def __init__(
        self, *, total_steps: int, warmup: float = 0.0, warmup_start: float = 0.001, final: float = 0.0
    ) -> None:
        super().__init__(total_steps=total_steps, warmup=warmup, warmup_start=warmup_start)
        self.final = _factor("final", final)

    def __call__(self, step: int) -> float:
        """Factor of the base learning rate at ``step``, 0-based."""
        rise = self.rise(step)
        if rise is not None:
            return rise
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * self.progress(step)))


@final
class Poly(_Warmup):
    """Warm-up, then ``(1 - progress) ** power``: DeepLab's schedule (DeepLabv3, section 4.1, power 0.9).

    Args:
        total_steps: this, ``warmup`` and ``warmup_start``: see the top of this module.
        power: above 0; 1 is a straight line.
        final: factor at the end of the run, 0..1.
    """

    def __init__(
        self,
        *,
        total_steps: int,
        warmup: float = 0.0,
        warmup_start: float = 0.001,
        power: float = 0.9,
        final: float = 0.0,
    ) -> None:
        super().__init__(total_steps=total_steps, warmup=warmup, warmup_start=warmup_start)
        if power <= 0:
            raise ValueError(f"power={power}: must be above 0, or the learning rate would not fall; try 0.9")
        self.power = power
        self.final = _factor("final", final)

    def __call__(self, step: int) -> float:
        """Factor of the base learning rate at ``step``, 0-based."""
        rise = self.rise(step)
        if rise is not None:
            return rise
        return float(self.final + (1 - self.final) * (1 - self.progress(step)) ** self.power)


@final
class Step(_Warmup):
    """Warm-up, then the base learning rate, multiplied by ``gamma`` at every milestone.

    Args:
        total_steps: this, ``warmup`` and ``warmup_start``: see the top of this module.
        milestones: rising; each a fraction of the run if a float (0.67), an epoch if an int (8), which needs
            ``epochs``. They count from the start of the run, warm-up included.
        gamma: factor of one milestone, above 0 and at most 1.
        epochs: length of the run in epochs; in YAML ``${trainer.max_epochs}``.
    """

    def __init__(
        self,
        *,
        total_steps: int,
        warmup: float = 0.0,
        warmup_start: float = 0.001,
        milestones: Sequence[float] = (0.67, 0.89),
        gamma: float = 0.1,
        epochs: int | None = None,
    ) -> None:
        super().__init__(total_steps=total_steps, warmup=warmup, warmup_start=warmup_start)
        if not 0 < gamma <= 1:
            raise ValueError(f"gamma={gamma}: multiplies the learning rate at each milestone; within 0..1, above 0")
        fractions = [_fraction_of_run(milestone, epochs) for milestone in milestones]
        if fractions != sorted(set(fractions)):
            raise ValueError(f"milestones={list(milestones)}: each must lie after the one before it")
        self.gamma = gamma
        self.milestone_steps = [round(fraction * total_steps) for fraction in fractions]

    def __call__(self, step: int) -> float:
        """Factor of the base learning rate at ``step``, 0-based."""
        rise = self.rise(step)
        passed = bisect.bisect_right(self.milestone_steps, step)
        return float((1.0 if rise is None else rise) * self.gamma**passed)


@final
class Exponential(_Warmup):
    """Warm-up, then the base learning rate times ``rate`` for each epoch since the start (section 6.1, rate 0.98).

    Args:
        total_steps: this, ``warmup`` and ``warmup_start``: see the top of this module.
        rate: factor of one epoch, above 0 and at most 1.
        epochs: length of the run in epochs; in YAML ``${trainer.max_epochs}``.
    """

    def __init__(
        self,
        *,
        total_steps: int,
        warmup: float = 0.0,
        warmup_start: float = 0.001,
        rate: float = 0.98,
        epochs: int = 100,
    ) -> None:
        super().__init__(total_steps=total_steps, warmup=warmup, warmup_start=warmup_start)
        if not 0 < rate <= 1:
            raise ValueError(f"rate={rate}: multiplies the learning rate after each epoch; within 0..1, above 0")
        if epochs < 1:
            raise ValueError(f"epochs={epochs}: the length of the run, 1 or more; set trainer.max_epochs")
        self.rate = rate
        self.epoch_steps = total_steps / epochs

    def __call__(self, step: int) -> float:
        """Factor of the base learning rate at ``step``, 0-based."""
        rise = self.rise(step)
        return float((1.0 if rise is None else rise) * self.rate ** int(step / self.epoch_steps))


def _steps(name: str, duration: float, total_steps: int) -> int:
    """An int is steps already, a float a fraction of the run."""
    # YAML users write `warmup: 1` for one step and `1.0` for the whole run: the type decides, not the value.
    steps = duration if isinstance(duration, int) else round(duration * total_steps)
    if not 0 <= steps <= total_steps:
        raise ValueError(
            f"{name}={duration} is {steps} of the run's {total_steps} optimiser steps; "
            "give a fraction of the run such as 0.05, or a number of steps that fits into it (an int)"
        )
    return steps


def _factor(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{name}={value}: a factor of the learning rate, so within 0..1")
    return value


def _fraction_of_run(milestone: float, epochs: int | None) -> float:
    if isinstance(milestone, int):
        if epochs is None:
            raise ValueError(
                f"milestones: {milestone} is an epoch, so the length of the run is needed; "
                "set epochs=${trainer.max_epochs}, or give fractions of the run such as 0.67"
            )
        milestone = milestone / epochs
    if not 0 < milestone < 1:
        raise ValueError(f"milestones: {milestone:g} of the run; each must lie inside the run, between 0 and 1")
    return milestone
