"""How much memory this process takes and has taken, where the platform tells."""

from __future__ import annotations

import re
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def resident_megabytes() -> float | None:
    """What the process holds in memory now, in MB of 2**20 bytes; on macOS the most it ever held, as nothing says less.

    None where neither Linux's /proc nor getrusage is there, as on Windows.
    """
    return _of_proc("VmRSS") if _STATUS.exists() else _most_of_getrusage()


def peak_megabytes() -> float | None:
    """The most that the process has held in memory, in MB of 2**20 bytes; None where the platform does not tell."""
    # Not getrusage where /proc is there: Linux counts what the parent held before this program took its place.
    return _of_proc("VmHWM") if _STATUS.exists() else _most_of_getrusage()


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
