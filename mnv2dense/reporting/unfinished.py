"""How far the run of a checkpoint is, where it has not come to its end: stopped, killed, or going on."""

from __future__ import annotations

from pathlib import Path

from mnv2dense.pretrained.checkpoint_file import (
    LAST,
    CheckpointError,
    find_checkpoint,
    is_own_checkpoint,
    read_checkpoint,
)
from mnv2dense.training.resuming import RUN, place_of


def epochs_done(checkpoint: str | Path) -> tuple[int, int] | None:
    """Epochs that are done, and those that the run was to have; None of a whole run, and where nobody knows.

    A run that ended, be it early, has scores in its folder.

    Args:
        checkpoint: a run folder, or a file in its folder ``checkpoints``.
    """
    if not is_own_checkpoint(Path(checkpoint)):
        return None
    last = find_checkpoint(checkpoint).with_name(LAST)
    folder = last.parent.parent
    if not last.is_file() or not (folder / "config.yaml").is_file() or (folder / "metrics.json").is_file():
        return None
    try:
        content = read_checkpoint(last)
        done, _ = place_of(content)
        wanted = int(content[RUN]["max_epochs"])
    except (CheckpointError, KeyError, TypeError, ValueError, AttributeError):  # damaged, older, or without that length
        return None
    return (done, wanted) if done < wanted else None
