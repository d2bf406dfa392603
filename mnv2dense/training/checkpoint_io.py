"""Checkpoint files on disk: whole or not at all, and nothing in them but plain data."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, final

import torch
from pytorch_lightning.plugins.io import CheckpointIO

from mnv2dense.utils.files import atomic_write
from mnv2dense.utils.torch_files import TorchFileError, load_plain

_log = logging.getLogger(__name__)

# How torch's RuntimeError begins that tells of a worker's end.
_WORKER = "DataLoader worker"


def _of_the_disk(error: BaseException | None) -> OSError | None:
    """What the system said, where torch has spoken of its own writer since."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


@final
class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target and renames: a full disk leaves the old checkpoint. Reads data, never code.

    Goes into ``Trainer(plugins=[AtomicCheckpointIO()])``. A folder that was moved or deleted meanwhile is made anew.
    """

    def __init__(self) -> None:
        super().__init__()
        self._written: set[Path] = set()  # folders that have checkpoints of this run in them

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: object = None
    ) -> None:
        """Write ``checkpoint`` to ``path``, replacing what was there only when all of it is on the disk.

        Raises:
            OSError: the disk is full or not writable; a checkpoint that was at ``path`` still is, whole.
        """
        target = Path(path)
        try:
            if target.parent in self._written and not target.parent.is_dir():
                _log.warning("%s: moved or deleted in the middle of the run; made anew for what follows", target.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(target) as file:
                torch.save(checkpoint, file)
            self._written.add(target.parent)
        except (
            OSError,
            RuntimeError,
        ) as error:  # torch's zip writer turns a failed write into a RuntimeError
            if _WORKER in str(error):  # one of the loader's died: torch raises that wherever the main thread is
                raise
            kept = "the checkpoint that was there before is whole" if target.exists() else "there was none before"
            disks = _of_the_disk(error)
            said = (
                f"{target}: checkpoint not written ({disks or 'its disk took a part of it alone'}); {kept}. "
                "Free some space or choose another run_dir, then resume"
            )
            raise (OSError(said) if disks is None else OSError(disks.errno, said)) from error

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = "cpu",  # noqa: ANN401 - torch's own type is as wide
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Read tensors and plain containers; anything else is refused, whatever ``weights_only`` says.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not a checkpoint, or carries objects that would run code when loaded.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"{path}: no such checkpoint; a run keeps best.ckpt and last.ckpt in its checkpoints folder"
            )
        try:
            checkpoint = load_plain(Path(path), map_location=map_location)
        except (TorchFileError, OSError) as error:
            raise ValueError(
                f"{path}: refused, not a checkpoint of tensors and plain values ({error}). "
                "Nothing in it was run; use a checkpoint written by this package"
            ) from error
        if not isinstance(checkpoint, dict):
            raise ValueError(f"{path}: holds a {type(checkpoint).__name__}, not a checkpoint of a training run")
        return checkpoint

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Delete the file if it is there."""
        Path(path).unlink(missing_ok=True)
