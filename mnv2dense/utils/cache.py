"""Where what was drawn or downloaded once is kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$MNV2DENSE_CACHE``, or ``~/.cache/mnv2dense``; not made yet."""
    return Path(os.environ.get("MNV2DENSE_CACHE") or Path.home() / ".cache" / "mnv2dense")
