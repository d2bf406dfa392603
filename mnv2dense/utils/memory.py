"""How much memory this process takes and has taken, where the platform tells."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Of glibc's malloc.h: parameters of mallopt, and what they are. glibc raises both thresholds as large blocks are freed,
# to these at most, but not once any of the three has been set: so they are set to what they would have come to.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_USUAL_TRIM_THRESHOLD, _USUAL_MMAP_THRESHOLD, _USUAL_MMAP_MAX = 64 << 20, 32 << 20, 65_536
_NEVER_TRIMMED = 2**31 - 1

_STATUS = Path("/proc/self/status")
_MACHINE = Path("/proc/meminfo")

# What a container may take in all and has taken, where its kernel tells (cgroup v2).
_ALLOWED, _TAKEN = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


def resident_megabytes() -> float | None:
    """What the process holds in memory now, in MB of 2**20 bytes; on macOS the most it ever held, as nothing says less.

    None where neither Linux's /proc nor getrusage is there, as on Windows.
    """
    return _of_proc("VmRSS") if _STATUS.exists() else _most_of_getrusage()


def peak_megabytes() -> float | None:
    """The most that the process has held in memory, in MB of 2**20 bytes; None where the platform does not tell."""
    # Not getrusage where /proc is there: Linux counts what the parent held before this program took its place.
    return _of_proc("VmHWM") if _STATUS.exists() else _most_of_getrusage()


def free_megabytes() -> float | None:
    """What the process could still take, in MB of 2**20 bytes: of the machine, or of its container if that has less.

    None where the platform does not tell, which all but Linux do not.
    """
    found = re.search(r"^MemAvailable:\s*(\d+) kB$", _MACHINE.read_text(), re.MULTILINE) if _MACHINE.exists() else None
    if found is None:
        return None
    free = int(found[1]) / 1024
    if _ALLOWED.exists() and _TAKEN.exists() and (allowed := _ALLOWED.read_text().strip()).isdigit():
        free = min(free, max(0.0, (int(allowed) - int(_TAKEN.read_text())) / 2**20))
    return free


def _of_proc(entry: str) -> float | None:
    found = re.search(rf"^{entry}:\s*(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else None


def _most_of_getrusage() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 1024  # bytes on macOS, KiB elsewhere


# The C library while it keeps what is freed.
_keeping: ctypes.CDLL | None = None


@contextmanager
def freed_memory_kept() -> Iterator[bool]:
    """Inside, memory that is freed stays with this process, to be taken again.

    Each activation of a training step is of megabytes, which glibc asks of the kernel and gives back, step after step;
    the kernel hands out every page anew, zeroed. On a CPU that is about a tenth of a step, more in float32. A process
    that keeps its pages takes up to a fifth more of memory. Processes that are forked inside, as a loader's workers
    are, keep nothing, neither of their own nor of what they come with.

    Afterwards all that is free goes back at once. What is taken later and fits where the run's blocks were lies there
    again, and goes back when the process ends.

    Yields:
        Whether it is so: not where the C library is another than glibc, nor where the environment says how glibc shall
        go about it (MALLOC_*, GLIBC_TUNABLES).
    """
    global _keeping
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    said = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if libc is None or said or not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        yield False
        return
    if _keeping is not None:  # who began it ends it
        yield True
        return
    _look_after_children()
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, _NEVER_TRIMMED)
    _keeping = libc
    try:
        yield True
    finally:
        _give_back()


@functools.cache
def _look_after_children() -> None:
    """They share the pages of what is free, too, and would hold on to them when their parent writes there anew."""
    os.register_at_fork(after_in_child=_give_back)


def _give_back() -> None:
    global _keeping
    libc, _keeping = _keeping, None
    if libc is not None:
        libc.mallopt(_MMAP_MAX, _USUAL_MMAP_MAX)
        libc.mallopt(_MMAP_THRESHOLD, _USUAL_MMAP_THRESHOLD)
        libc.mallopt(_TRIM_THRESHOLD, _USUAL_TRIM_THRESHOLD)
        libc.malloc_trim(ctypes.c_size_t(0))
