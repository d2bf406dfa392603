"""What an export came to: a table for the terminal and the same numbers as json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

from rich.table import Table

from mnv2dense.export.parity import Parity, Tolerance
from mnv2dense.export.tasks import TASKS
from mnv2dense.runtimes.arena import Arena
from mnv2dense.runtimes.metadata import Metadata


@final
@dataclass
class ExportReport:
    """One exported file beside its model; filled in as the gate goes on.

    Attributes:
        exporter: that wrote it.
        file: where it goes.
        description: what it says of itself.
        megabytes: of all its files, in millions of bytes.
        model_megabytes: of the model's weights as float32.
        tolerance: that it is held to.
        images_from: where the compared images come from, in words.
        parity: what the comparison found; None where the file cannot be run here.
        torch_ms: median time of the model in torch for one image, milliseconds.
        file_ms: that of the file in its runtime.
        threads: of both; None where both took what they take.
        arena: what the file's runtime planned for activations; None where it tells of no plan.
        scores: name -> the model's and the file's score on a data set.
        notes: what else there is to say.
        failures: why it is refused; empty where it is not.
        diverges: from which layer on, where it is refused; in words.
    """

    exporter: str
    file: Path
    description: Metadata
    megabytes: float
    model_megabytes: float
    tolerance: Tolerance
    images_from: str
    parity: Parity | None = None
    torch_ms: float | None = None
    file_ms: float | None = None
    threads: int | None = None
    arena: Arena | None = None
    scores: dict[str, tuple[float, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    diverges: str | None = None

    def plain(self) -> dict[str, Any]:
        """Every number, as json takes it."""
        described = self.description
        return {
            **asdict(self),
            "arena": None if self.arena is None else self.arena._asdict(),
            "file": str(self.file),
            "description": {"task": described.task, "outputs": described.outputs, "precision": described.precision},
            "extra": described.extra,
            "scores": {name: {"model": before, "file": after} for name, (before, after) in self.scores.items()},
            "passed": not self.failures,
        }

    def table(self, headlines: Iterable[str] = ()) -> Table:
        """A row for each number: the model's, the file's, and what is asked of it.

        Args:
            headlines: the names of ``scores`` to show, in their order.
        """
        made = Table(title=str(self.file), title_justify="left")
        made.add_column("")
        made.add_column("torch", justify="right")
        made.add_column(f"{self.exporter} {self.description.precision}", justify="right")
        made.add_column("needed", style="dim")
        made.add_row("MB", f"{self.model_megabytes:.2f}", f"{self.megabytes:.2f}", "")
        if self.arena is not None:
            of = "arena" if self.arena.whole else "arena outside the delegate"
            made.add_row(f"{of}, kB", "", f"{self.arena.bytes / 1e3:.1f}", "")
        if self.parity is not None:
            self._add_parity(made, self.parity)
        if self.torch_ms is not None and self.file_ms is not None:
            threads = "" if self.threads is None else f", threads={self.threads}"
            made.add_row(f"milliseconds{threads}", f"{self.torch_ms:.1f}", f"{self.file_ms:.1f}", "")
        for name in headlines:
            if name in self.scores:
                before, after = self.scores[name]
                made.add_row(name, _score(before), _score(after), "")
        for name, value in self.description.extra.items():
            made.add_row(name.replace("_", " "), "", _short(value), "")
        return made

    def _add_parity(self, made: Table, parity: Parity) -> None:
        allowed = "" if self.tolerance.difference is None else f"<= {self.tolerance.difference:.2g}"
        for difference in parity.differences:
            made.add_row(f"{difference.name}: largest difference", "", f"{difference.largest:.2g}", "")
            made.add_row(f"{difference.name}: share of their range", "", f"{difference.relative:.2g}", allowed)
        for name, part in (parity.parts or {"": parity}).items():
            share = "-" if part.agreement is None else f"{part.agreement:.1%}"
            agreeing = f"{name} {TASKS[part.task].counted} that agree, {parity.images} images".lstrip()
            made.add_row(agreeing, "", share, f">= {self.tolerance.parts.get(name, self.tolerance).agreement:.1%}")


def _score(value: float) -> str:
    return "-" if value < 0 else f"{value:.3f}"


def _short(value: object) -> str:
    """A value of a description's extra; of a long list the number and the beginning."""
    if isinstance(value, Mapping):
        value = [f"{name}: {_short(item)}" for name, item in value.items()]
    if isinstance(value, Sequence) and not isinstance(value, str):
        listed = ", ".join(map(str, value[:4])) + (", ..." if len(value) > 4 else "")
        return f"{len(value)}: {listed}" if value else "none"
    return str(value)
