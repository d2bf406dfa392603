"""What an exam came to, in numbers and in words: what differs, the likely cause, the next step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from mnv2dense.runtimes.exam_causes import CAUSES

# Of stored constants so many are named; where more than this share differs, they are other weights, not damaged ones.
_NAMED, _DAMAGED = 3, 0.02


@final
@dataclass(frozen=True)
class ExamReport:
    """What a file's exam came to.

    Attributes:
        file: that was checked.
        runtime: that ran it.
        distances: output -> how far its values are from the model's, as a share of the spread of these.
        limits: output -> the largest distance that is right for the file.
        is_own: whether these are of what the file itself answered when it was written, as its rounding is coarse.
        cause: the fault whose answers are the nearest, a key of
            :data:`mnv2dense.runtimes.exam_causes.CAUSES`; None where none fits, or nothing differs.
        also: other faults whose answers are about as near.
        nearness: of the cause: distance to its answers as a share of that to the right ones; 1 without one.
        changed: names of stored constants that are not as they were written.
        missing: how many stored constants of the exam the file does not have.
        stored: how many the exam has; 0 where they could not be looked at.
        pictures: how many were answered.
        notes: what else there is to say.
        looked_at_layers: whether fresh files of the model's parts were made and run here.
        layer: the first of these that answers otherwise than the model; None where all agree.
    """

    file: Path
    runtime: str
    distances: Mapping[str, float]
    limits: Mapping[str, float]
    is_own: bool = False
    cause: str | None = None
    also: tuple[str, ...] = ()
    nearness: float = 1.0
    changed: tuple[str, ...] = ()
    missing: int = 0
    stored: int = 0
    pictures: int = 0
    notes: tuple[str, ...] = ()
    looked_at_layers: bool = False
    layer: str | None = None

    @property
    def differing(self) -> list[str]:
        """Outputs beyond their limits, the worst first."""
        over = {
            name: found / self.limits[name] if self.limits[name] > 0 else math.inf
            for name, found in self.distances.items()
            if not found <= self.limits[name]
        }
        return sorted(over, key=lambda name: -over[name])

    @property
    def equal(self) -> bool:
        """Whether all outputs are within their limits, and all stored constants as they were written."""
        return not self.differing and not self.changed

    def lines(self) -> list[str]:
        """The verdict: what differs, the likely cause, the next step."""
        if self.equal:
            worst = max(self.distances, key=lambda name: self.distances[name] / max(self.limits[name], 1e-12))
            who = "it did when it was written" if self.is_own else "the model did"
            looked_at = self.stored - self.missing
            checked = f", and {looked_at} stored constants are as written" if looked_at else ""
            return [
                f"equal: {self.file} answers its {self.pictures} pictures as {who} (off by at most "
                f"{_share(self.distances[worst])} in {worst}, allowed {_share(self.limits[worst])}){checked}",
                *self.notes,
            ]
        return [f"differs: {self._what()}", f"likely cause: {self._cause()}", f"next: {self._next()}", *self.notes]

    def _what(self) -> str:
        if not self.differing:
            return (
                f"{_named(self.changed)} in {self.file} {_is(self.changed)} not as written; answers are within limits"
            )
        name = self.differing[0]
        others = f" (and {', '.join(self.differing[1:])})" if self.differing[1:] else ""
        return (
            f"{name}{others} of {self.file}, by {_share(self.distances[name])} of the model's spread"
            f"{' from what it answered when it was written' if self.is_own else ''}, "
            f"allowed {_share(self.limits[name])}"
        )

    @property
    def is_damaged(self) -> bool:
        """Whether a few stored constants changed, as by a flipped bit, and no other cause explains the answers."""
        return bool(self.changed) and self.cause is None and len(self.changed) <= max(_NAMED, _DAMAGED * self.stored)

    def _cause(self) -> str:
        if self.cause is not None:
            said = CAUSES[self.cause].said if self.cause in CAUSES else "see docs/exams.md"
            others = f"; or {' or '.join(self.also)}, which this exam can hardly tell from it" if self.also else ""
            return f"{self.cause}: {said}{others}"
        if self.is_damaged:
            return f"weights changed after export: {_named(self.changed)} {_is(self.changed)} not as written"
        if self.layer is not None:
            return f"the runtime or exporter on this machine: {self.layer} is the first layer that answers otherwise"
        if self.looked_at_layers:
            return "this file alone: every layer of a fresh export answers rightly here"
        if self.changed or self.missing > self.stored / 2:
            return "none of the known ones; the weights are others than those of the export"
        if self.stored:
            return "none of the known ones; all weights are as written, so the runtime or what prepares images differs"
        return "none of the known ones"

    def _next(self) -> str:
        if self.cause is not None:
            return CAUSES[self.cause].next_step if self.cause in CAUSES else "Export the file again."
        if self.is_damaged or (self.looked_at_layers and self.layer is None):
            return "Copy the file again from where it was exported, or export it again."
        if self.layer is not None:
            return f"Try another version of the runtime; at int8, keep_float=[{self.layer}] leaves that in float."
        return f"mnv2dense-check {self.file} checkpoint=RUN finds the first layer that differs."


def _named(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _is(names: tuple[str, ...]) -> str:
    return "is" if len(names) == 1 else "are"


def _share(value: float) -> str:
    return f"{100 * value:.2g}%" if value < 10 else f"{value:.0f} times"
