"""The curves of trainings, as their csv logs have them."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from mnv2dense.utils.text_files import read_text

Curve = list[tuple[int, float]]


def training_curves(folder: Path, names: Sequence[str]) -> dict[str, Curve]:
    """Name -> (epoch, mean of what was logged in it), epochs counted from 1; of names that were logged.

    Args:
        folder: of a run; where it was resumed in its own folder, the logs from before count too.
        names: as they were logged, "train/loss" or "val/AP".
    """
    values: dict[str, dict[int, list[float]]] = {name: defaultdict(list) for name in names}
    for log in [*sorted(folder.glob("csv_*/metrics.csv")), folder / "csv" / "metrics.csv"]:
        if not log.is_file():
            continue
        for name, epoch, value in _entries(log, names):
            values[name][epoch].append(value)
    return {
        name: [(epoch, sum(logged) / len(logged)) for epoch, logged in sorted(epochs.items())]
        for name, epochs in values.items()
        if epochs
    }


def _entries(log: Path, names: Sequence[str]) -> list[tuple[str, int, float]]:
    """Name, epoch and value of each cell that holds a number."""
    found = []
    for row in csv.DictReader(read_text(log).splitlines()):
        for name in names:
            try:
                epoch, value = int(row["epoch"]) + 1, float(row[name])
            except (KeyError, TypeError, ValueError):  # not logged, or in another row
                continue
            if math.isfinite(value):
                found.append((name, epoch, value))
    return found
