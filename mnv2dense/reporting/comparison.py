"""What a comparison of runs says, as plain values: for the terminal, compare.json, compare.csv and compare.html."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mnv2dense.utils.files import atomic_write
from mnv2dense.utils.numbers import is_whole

_LEAST = {"draws": 100, "rounds": 1, "threads": 1, "examples": 0}


def check_numbers(options: Mapping[str, Any]) -> None:
    """Whether the numbers of a comparison are what it can use.

    Args:
        options: draws, rounds, threads and examples, among others.

    Raises:
        ValueError: one is not.
    """
    for key, least in _LEAST.items():
        if not is_whole(options[key]) or options[key] < least:
            raise ValueError(f"{key}={options[key]}: a whole number of at least {least} is needed.")


@dataclass(frozen=True)
class Side:
    """One run, or several whose configs differ in the seed alone.

    Attributes:
        label: A, B, ...
        runs: as they were typed.
        names: the same, short.
        seeds: of their trainings; None where nobody knows.
        scores: main score of each run.
    """

    label: str
    runs: tuple[str, ...]
    names: tuple[str, ...]
    seeds: tuple[int | None, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Difference:
    """How much higher a side's score is than the first side's.

    Attributes:
        value: of the scores themselves.
        low: the interval's end, by images drawn anew, and by seeds where a side has several; NaN where too few images
            tell of it.
        high: its other end, or NaN.
        marked: of a class, whether it is more than chance when all classes are judged together.
    """

    value: float
    low: float
    high: float
    marked: bool = False

    @property
    def has_interval(self) -> bool:
        """Whether its ends are known."""
        return not math.isnan(self.low)

    @property
    def excludes_zero(self) -> bool:
        """Whether this interval alone says that there is a difference."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Row:
    """One score.

    Attributes:
        score: its name, "AP" or "AP/dog".
        meaning: in a few words; of a class nothing.
        values: of each side, means over its runs; None where the data cannot tell.
        spreads: standard deviation over the runs of each side; None of a single run.
        differences: of each side but the first.
        images: of a class, how many show it.
    """

    score: str
    meaning: str
    values: tuple[float | None, ...]
    spreads: tuple[float | None, ...]
    differences: tuple[Difference | None, ...]
    images: int | None = None


@dataclass(frozen=True)
class Cost:
    """What a side's model takes.

    Attributes:
        parameters: None of an exported file, inside which nobody counts.
        multiply_adds: of an image.
        megabytes: of the weights as float32, or of the exported files.
        milliseconds: of an image on one core or more, side by side with the others; None where nothing was timed, and
            of a side that looks at images otherwise than its file (``test_time``, ``output_stride``).
        size: (height, width) of the model's input, pixels: of the same weights a smaller one costs less and sees less.
    """

    parameters: int | None
    multiply_adds: int | None
    megabytes: float
    milliseconds: float | None
    size: tuple[int, int]


@dataclass(frozen=True)
class Comparison:
    """See the module.

    Attributes:
        task: "detection", "segmentation", "classification" or "joint".
        data: what all were scored on.
        images: how many.
        draws: how often they were drawn anew.
        score: the main one, by which the verdicts go.
        sides: at least one; the first is what the others are compared with.
        verdicts: sentences, the main one first.
        notes: what else to know of the verdicts.
        rows: scores over all classes, the main one first.
        classes: of each class.
        options: in which configs differ -> value of each side.
        costs: of each side.
        timed: how, in words; empty where nothing was.
    """

    task: str
    data: str
    images: int
    draws: int
    score: str
    sides: tuple[Side, ...]
    verdicts: tuple[str, ...]
    notes: tuple[str, ...]
    rows: tuple[Row, ...]
    classes: tuple[Row, ...]
    options: tuple[tuple[str, tuple[str | None, ...]], ...]
    costs: tuple[Cost, ...]
    timed: str

    def write(self, folder: Path) -> None:
        """compare.json, which has everything, and compare.csv, which has the scores: a line for each score and side."""
        with atomic_write(folder / "compare.json") as file:
            text = json.dumps(_finite(asdict(self)), indent=2, ensure_ascii=False, allow_nan=False)
            file.write(f"{text}\n".encode(errors="backslashreplace"))
        with atomic_write(folder / "compare.csv") as file:
            table = io.StringIO(newline="")
            csv.writer(table).writerows(self._lines())
            file.write(table.getvalue().encode(errors="backslashreplace"))

    def _lines(self) -> Iterator[list[object]]:
        yield ["score", "side", "runs", "value", "spread_over_seeds", "difference", "low", "high", "marked", "images"]
        for row in (*self.rows, *self.classes):
            differences = (None, *row.differences)
            for side, value, spread, difference in zip(self.sides, row.values, row.spreads, differences, strict=True):
                told = difference and (difference.value, difference.low, difference.high, int(difference.marked))
                runs = " ".join(side.names)
                yield [row.score, side.label, runs, value, spread, *_finite(told or ("", "", "", "")), row.images]


def _finite(value: Any) -> Any:  # noqa: ANN401 - a nest of plain values
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
