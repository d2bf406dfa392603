"""Which process of a run this is."""

from __future__ import annotations

import os
import sys

# Where a launcher says it, in the order in which Lightning looks.
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


def is_first_process() -> bool:
    """Whether this process is the one that writes and speaks for all of a run."""
    # Lightning knows of processes that it started itself, but nobody should wait for its import only to ask.
    if (loaded := sys.modules.get("lightning_utilities.core.rank_zero")) is not None:
        return int(getattr(loaded.rank_zero_only, "rank", 0) or 0) == 0
    return int(next((os.environ[name] for name in _RANKS if name in os.environ), 0)) == 0
