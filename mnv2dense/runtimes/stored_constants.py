"""Checksums of what a file stores: a flipped bit in a weight is found, and named, without running anything."""

from __future__ import annotations

import importlib
import zlib
from pathlib import Path

from mnv2dense.runtimes.formats import format_of, is_exported, runtime_module

LEAST_BYTES = 64
"""Of a constant that is looked at: more than so many. Smaller ones are sizes, limits and scales of one tensor."""


def checksums(path: Path) -> dict[str, int]:
    """Name -> crc32 of its bytes, of every stored constant of more than 64 bytes; of equal names that of all.

    Args:
        path: an exported file; of a format that tells no constants there are none.

    Raises:
        ImportError: what reads the format is not installed.
    """
    name = format_of(path)
    if name is None or not is_exported(path):
        return {}
    constants = getattr(importlib.import_module(runtime_module(name)), "constants", None)
    found: dict[str, int] = {}
    for constant, content in constants(path) if constants is not None else ():
        if len(content) > LEAST_BYTES:
            found[constant] = zlib.crc32(content, found.get(constant, 0))
    return found
