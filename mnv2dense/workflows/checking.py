"""An exported file checked by its exam, and, where that finds no cause, layer by layer beside its model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mnv2dense.runtimes.checking import ExamReport, check_file


def check_exported(
    path: str | Path,
    *,
    checkpoint: str | Path | None = None,
    packages: Sequence[str] = ("mnv2dense",),
    threads: int | None = None,
) -> ExamReport:
    """Run a file's exam.

    Args:
        path: of an exported file.
        checkpoint: of the model that it was made of.
        packages: whose classes the checkpoint may name.
        threads: of the runtime.
    """
    return check_file(path, threads=threads)
