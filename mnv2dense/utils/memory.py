"""How much memory this process takes and has taken, where the platform tells."""

from __future__ import annotations

import re
import sys
from pathlib import Path

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
