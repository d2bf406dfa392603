"""Arrays that are mapped from a file, sent to processes of this machine as the place of the file, not as its content.

A loader whose workers are spawned and not forked (macOS, Windows) pickles its data set for each of them. numpy pickles
a mapped array as if it were none, so that each worker would hold a copy of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[Any]


def as_plain(mapped: np.memmap[Any, Any]) -> Column:
    """The same as numpy's plain class, whose slices take a third of the time, and which is mapped where it is sent."""
    ForkingPickler.register(np.ndarray, _reduced)
    return np.asarray(mapped)


def _reduced(array: Column) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """What pickles an array for another process."""
    owner = _mapped_owner(array)
    if owner is None or not array.size or not _is_still(owner):
        return array.__reduce__()  # type: ignore[return-value]  # numpy says str, too
    begin = owner.offset + array.ctypes.data - owner.ctypes.data
    return _mapped_again, (owner.filename, array.dtype, begin, array.shape, array.strides)


def _mapped_owner(array: Column) -> np.memmap[Any, Any] | None:
    """What mapped the file that an array is a view of; None where there is none."""
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    return owner if isinstance(owner, np.memmap) and owner.mode == "r" else None


def _is_still(owner: np.memmap[Any, Any]) -> bool:
    """Whether the file is there, and as long as what was mapped: it may have been replaced meanwhile."""
    try:
        return owner.filename is not None and Path(owner.filename).stat().st_size >= owner.offset + owner.nbytes
    except OSError:
        return False


def _mapped_again(
    file: str, dtype: np.dtype[Any], begin: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> Column:
    ways = [(side - 1) * step for side, step in zip(shape, strides, strict=True)]
    before = -sum(way for way in ways if way < 0)  # of what goes backwards the first lies behind the rest
    after = sum(way for way in ways if way > 0) + dtype.itemsize
    content = np.memmap(file, np.uint8, "r", begin - before, (before + after,))
    return np.ndarray(shape, dtype, content, before, strides)
