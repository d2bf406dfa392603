"""``resume=auto``: one command that begins a run and goes on with it, for whatever starts commands again."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mnv2dense.reporting.run_folder import RunFolder

AUTO: Final = "auto"


def check_auto_resume(resume: str | Path | None, run_dir: str | Path | RunFolder | None) -> None:
    """Whether a command that is started again, and each of its processes, will find the same folder.

    Raises:
        ValueError: ``resume`` is auto, and no folder is named: each start would make another.
    """
    if resume == AUTO and run_dir is None:
        raise ValueError(
            "resume=auto: a command that is started again finds its run by its folder, and none is named; add run_dir="
            "..., on a cluster run_dir=runs/$SLURM_JOB_ID."
        )


def resumed_here(resume: str | Path | None, folder: RunFolder) -> str | Path | None:
    """What to go on from: for auto the run in the folder, None where it holds no checkpoint; else what was given."""
    if resume != AUTO:
        return resume or None
    return folder.path if folder.holds_a_run else None
