"""On SLURM: when a job's time is nearly up, it is queued again and goes on from its checkpoint."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from typing import final

import pytorch_lightning as pl

from mnv2dense.utils.distributed import is_first_process

_log = logging.getLogger(__name__)


@final
class Requeue(pl.Callback):
    """Asks SLURM to queue the job again after its warning, SIGUSR1 (``sbatch --signal=USR1@300 --requeue``).

    By then :class:`~mnv2dense.training.BestAndLast` has let the batch finish and written the checkpoint, on all
    processes together; Lightning's own requeueing saves from within the signal's handler, in the middle of a step, each
    process by itself. For commands that go on by themselves when they are started again; nothing is done outside of a
    job of SLURM's.
    """

    def __init__(self) -> None:
        self._asked = False

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Ask, and have no process leave before: SLURM may end a job when its first process does."""
        if isinstance(exception, SystemExit) and _is_warning(exception):
            self.ask(exception)
            trainer.strategy.barrier("requeue")

    def ask(self, stopped: SystemExit) -> None:
        """Ask where the run was stopped by the warning, once, in the first process."""
        job = _job()
        if job is None or self._asked or not _is_warning(stopped) or not is_first_process():
            return
        self._asked = True
        try:
            done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
        except OSError as error:
            _log.warning("scontrol requeue %s: %s; submit the same command again", job, error.strerror)
            return
        if done.returncode:
            _log.warning("scontrol requeue %s: %s; submit the same command again", job, done.stderr.strip())
        else:
            _log.warning("SLURM was asked to queue job %s again.", job)


def _job() -> str | None:
    """What scontrol calls the job; of an array, the one of its jobs that this is."""
    if (array := os.environ.get("SLURM_ARRAY_JOB_ID")) is not None:
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")


def _is_warning(stopped: SystemExit) -> bool:
    warning = getattr(signal, "SIGUSR1", None)  # Windows has none
    return warning is not None and stopped.code == 128 + warning
