"""``resume=auto`` in a run of one process: a loader's worker that is killed costs what was learnt since the checkpoint.

When a worker dies, torch raises in the main thread, in whatever it is doing, so nothing of the process's state can be
trusted; the files can. Runs of several processes are restarted by what started them: torchrun, or SLURM.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mnv2dense.pretrained.checkpoint_file import LAST
from mnv2dense.reporting.run_folder import RunFolder

log = logging.getLogger(__name__)

# Without a new checkpoint in between: what kills workers again and again, such as too little memory, is to be told.
_MOST = 3

# How often it was restarted at the checkpoint as it is now: "2 1732958293000000000".
_VARIABLE = "MNV2DENSE_RESTARTS"

# "(pid 12) is killed by signal: Killed.", "(pid(s) 12, 13) exited unexpectedly"
_WORKER_DIED = re.compile(r"DataLoader worker \(pid.*(killed by signal|exited unexpectedly)", re.DOTALL)


@contextmanager
def begun_again(folder: RunFolder, *, start: Callable[[str, list[str]], object] = os.execv) -> Iterator[None]:
    """Replace this process by the same command, begun again, where a worker of its loader was killed.

    Args:
        folder: of the run.
        start: replaces the process; given the program and its command line.
    """
    try:
        yield
    except RuntimeError as error:
        times = _times(folder)
        if not _WORKER_DIED.search(str(error)) or times >= _MOST or not _can_begin_again():
            raise
        log.warning("%s", str(error).partition("\n")[0])
        log.warning("resume=auto: the command begins again, %d of at most %d times here.", times + 1, _MOST)
        # Its handler would raise for each of the workers that are left. They end when their parent process has another
        # number, and this one keeps its own.
        signal.signal(signal.Signals["SIGCHLD"], signal.SIG_DFL)
        for child in multiprocessing.active_children():
            child.kill()
            child.join()
        os.environ[_VARIABLE] = f"{times + 1} {_written(folder)}"
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        start(sys.executable, sys.orig_argv)


def _can_begin_again() -> bool:
    """Not on Windows, where a new process would not take this one's place; not what others start and watch."""
    processes = int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1)
    return os.name == "posix" and processes == 1 and "TORCHELASTIC_RUN_ID" not in os.environ


def _times(folder: RunFolder) -> int:
    count, _, written = os.environ.get(_VARIABLE, "0 0").partition(" ")
    return int(count) if int(written) == _written(folder) else 0


def _written(folder: RunFolder) -> int:
    """When the last checkpoint was, in ns; 0 before the first."""
    last = Path(folder.path, "checkpoints", LAST)
    return last.stat().st_mtime_ns if last.is_file() else 0
