"""The state of many files in one text, to tell whether any of them changed, in a twentieth of the time to read them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mnv2dense.data.datasets.columns import spelled


def names_digest(files: Sequence[Path]) -> str:
    """Of the files' absolute names, in their order."""
    names = spelled(files)
    digest = hashlib.sha256(b"" if all(map(os.path.isabs, names)) else os.fsencode(Path.cwd()))
    digest.update("\0".join(names).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def states_digest(files: Sequence[Path]) -> str:
    """Of the sizes and times of change of the files, in their order; of one that is not there, that it is not."""
    names = spelled(files)
    wanted: dict[str, dict[str, int]] = {}
    for place, name in enumerate(names):
        folder, separator, last = name.rpartition(os.sep)
        wanted.setdefault(folder + separator, {})[last] = place
    states = np.full((len(names), 2), -1, np.int64)
    for folder, places in wanted.items():
        _look(folder or os.curdir, places, states)
    # What a listing spells otherwise than we do (case, accents), links to nothing, and what is not there.
    for place in np.flatnonzero(states[:, 0] < 0).tolist():
        try:
            status = files[place].stat()
        except OSError:
            continue
        states[place] = status.st_size, status.st_mtime_ns
    return hashlib.sha256(states.tobytes()).hexdigest()


def _look(folder: str, places: dict[str, int], states: np.ndarray) -> None:
    """One listing: it takes half the time of asking for each file by its path."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if (place := places.get(entry.name)) is not None:
                    status = entry.stat()
                    states[place] = status.st_size, status.st_mtime_ns
    except OSError:
        return
