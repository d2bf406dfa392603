"""tools/check.py: exported files checked by the exams that they carry."""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig

from mnv2dense.cli.parts import check_checkpoint
from mnv2dense.cli.shell import run_command
from mnv2dense.runtimes.formats import format_of, is_exported, no_such_file, runnable_suffixes

_DIFFERS = 1
"""The exit code where a file differs; 2 is a slip of the user's."""


def check() -> None:
    """``mnv2dense-check`` and tools/check.py."""
    run_command("check", _check)


def _check(config: DictConfig) -> None:
    files = [Path(str(file)) for file in config.file or ()]
    if not files:
        raise ValueError("file: name an exported file to check, as in mnv2dense-check detector.onnx.")
    if config.checkpoint is not None and len(files) > 1:
        raise ValueError(f"checkpoint={config.checkpoint} is of one file, and {len(files)} are named; check one.")
    for file in files:
        if not file.exists():
            raise FileNotFoundError(no_such_file(file))
        if format_of(file) is None:
            raise ValueError(f"{file}: not an exported file; they end in {', '.join(runnable_suffixes())}.")
    if config.checkpoint is not None:
        if is_exported(config.checkpoint):
            raise ValueError(f"checkpoint={config.checkpoint} is an exported file; give what it was made of.")
        check_checkpoint(config.checkpoint)

    from mnv2dense.workflows.checking import check_exported  # with torch: what is wrong above is told at once

    are_equal = True
    for file in files:
        report = check_exported(file, checkpoint=config.checkpoint, packages=config.packages, threads=config.threads)
        print("\n".join(report.lines()), flush=True)
        are_equal &= report.equal
    if not are_equal:
        sys.exit(_DIFFERS)
