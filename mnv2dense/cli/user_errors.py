"""Which errors are the user's to mend, and get one line; all others keep their stack trace. See docs/adr/0009."""

from __future__ import annotations

import re
from pathlib import Path

from mnv2dense.utils.errors import refused_by

_PACKAGE = "mnv2dense"

# How torch hands on what a loader's worker raised: the worker's own trace, as text.
_WORKERS_TRACE = "Original Traceback"


def is_users(error: BaseException) -> bool:
    """Whether a user can cause and mend it.

    What the system says of files, Python of packages that are not there, and Lightning of its options, is. A
    ``ValueError`` is if this package raised it on purpose: then its message names the value, the rule and the next
    step. What a part's own package refuses while the part is built, ``models.construct`` raises on. One out of torch or
    numpy, or out of a slip of ours such as ``int("")``, would only leave the user guessing where it came from.
    """
    if isinstance(error, OSError | ImportError) or _is_lightnings(error):
        return True
    if not isinstance(error, ValueError):
        return False
    if _WORKERS_TRACE in str(error):
        return _was_raised_by_a_worker_of_ours(str(error))
    return refused_by(error) == _PACKAGE


def _is_lightnings(error: BaseException) -> bool:
    """Whether Lightning complains of options; told by names, as asking for the class would import all of it."""
    kind = type(error)
    return kind.__name__ == "MisconfigurationException" and kind.__module__.startswith(("lightning", "pytorch_light"))


def message_of(error: BaseException) -> str:
    """Its message; of a loader's worker, the last line of the trace that comes with it."""
    said = str(error)
    return said.strip().splitlines()[-1].partition(": ")[2] if _WORKERS_TRACE in said else said


def _was_raised_by_a_worker_of_ours(trace: str) -> bool:
    frames = re.findall(r'^  File "([^"]*)", line \d+, in .*\n +(.*)$', trace, re.MULTILINE)
    return bool(frames) and _PACKAGE in Path(frames[-1][0]).parts and frames[-1][1].startswith("raise ")
