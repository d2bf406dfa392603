"""Names that are paths, as short as tells them apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def short_names(names: Sequence[str]) -> list[str]:
    """The last parts of each path, as few as tell them apart."""
    paths = [Path(name).parts for name in names]
    longest = max(map(len, paths), default=1)
    for count in range(1, longest + 1):
        short = ["/".join(parts[-count:]) for parts in paths]
        if len(set(short)) == len(set(names)):
            return short
    return list(names)
