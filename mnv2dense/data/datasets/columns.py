"""Long lists as arrays: an array can be mapped from a file, and worker processes share it without copying it.

A list of a hundred thousand paths takes tens of megabytes, and each worker that reads it gets a copy of its own, little
by little, as reading counts references.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Self, overload

import numpy as np
import numpy.typing as npt


class WholeNumbers(Sequence[int]):
    """P integers. It equals any sequence of the same numbers."""

    def __init__(self, values: npt.NDArray[np.int64]) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> int | Self:
        return type(self)(self._values[index]) if isinstance(index, slice) else int(self._values[index])

    def __iter__(self) -> Iterator[int]:
        return iter(self._values.tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as lists, which these stand for

    def __repr__(self) -> str:
        return repr(self._values.tolist())

    def chosen(self, places: Sequence[int]) -> Self:
        """Those at these places, in this order."""
        return type(self)(taken(self._values, places))


class Names(NamedTuple):
    """P texts in UTF-8, one after another.

    Attributes:
        letters: uint8.
        starts: int64 [P + 1], where each begins in ``letters``; the last is the end.
    """

    letters: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Names:
        """Those texts; json may hold halves of a surrogate pair, which are kept."""
        coded = [text.encode("utf-8", "surrogatepass") for text in texts]
        starts = np.cumsum([0, *map(len, coded)], dtype=np.int64)
        return cls(np.frombuffer(b"".join(coded), np.uint8), starts)

    def at(self, place: int) -> str:
        """The text at this place, 0..P-1."""
        start, end = self.starts[place : place + 2]
        return self.letters[start:end].tobytes().decode("utf-8", "surrogatepass")


class Paths(Sequence[Path]):
    """P files, named from one folder on; a path is made when it is asked for. It equals any sequence of the same paths.

    Args:
        folder: that the names start from.
        names: of the files, which may lie in folders below, or elsewhere.
        places: which of the names, and in which order; all by default.
    """

    def __init__(self, folder: Path, names: Names, places: npt.NDArray[np.int64] | None = None) -> None:
        self.folder = folder
        self._names = names
        self._places = places

    @classmethod
    def below(cls, folder: Path, paths: Iterable[str | Path]) -> Paths:
        """Those paths, most of which begin with the folder's."""
        start = "" if folder == Path() else f"{os.fspath(folder).rstrip(os.sep)}{os.sep}"
        texts = (os.fspath(path) for path in paths)
        names = (text[len(start) :] if text.startswith(start) else f"{Path(text).absolute()}" for text in texts)
        return cls(folder, Names.of(names))

    def __len__(self) -> int:
        return len(self._names.starts) - 1 if self._places is None else len(self._places)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Path | Self:
        if isinstance(index, slice):
            return self.chosen(range(len(self))[index])
        place = range(len(self))[index]
        if self._places is not None:
            place = int(self._places[place])
        return self.folder / self._names.at(place)

    def __iter__(self) -> Iterator[Path]:
        return (self.folder / name for name in self.names())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as lists, which these stand for

    def __repr__(self) -> str:
        return f"<{len(self)} paths in {self.folder}>"

    def names(self) -> list[str]:
        """The P names, as they were given."""
        letters, starts = self._names.letters.tobytes(), self._names.starts.tolist()
        names = [letters[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise(starts)]
        return names if self._places is None else [names[place] for place in self._places.tolist()]

    def chosen(self, places: Sequence[int]) -> Self:
        """Those at these places, in this order."""
        if places == range(len(self)):
            return self
        own = np.arange(len(self)) if self._places is None else self._places
        return type(self)(self.folder, self._names, taken(own, places))


def chosen(values: Sequence[Any], places: Sequence[int]) -> Sequence[Any]:
    """Those at these places, in this order; what is kept as an array stays so."""
    if isinstance(values, WholeNumbers | Paths):
        return values.chosen(places)
    if values == range(len(values)):
        return places
    return [values[place] for place in places]


def taken(values: npt.NDArray[Any], places: Sequence[int]) -> npt.NDArray[Any]:
    """Those at these places: a view of them where they are a range, so that what is mapped from a file stays so."""
    if isinstance(places, range) and places.step > 0:
        return values[places.start : places.stop : places.step]
    return values[np.asarray(places, np.int64)]


def ends_of(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where each of several stretches of so many begins when they follow each other, and the end of the last."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def spelled(paths: Sequence[Path]) -> list[str]:
    """The paths as texts; two are equal where the paths are."""
    if not isinstance(paths, Paths):
        return [os.fspath(path) for path in paths]
    folder = os.fspath(paths.folder)
    plain = folder != "." and not folder.endswith(os.sep)
    return [
        f"{folder}{os.sep}{name}" if plain and not _is_odd(name) else os.fspath(paths.folder / name)
        for name in paths.names()
    ]


def stem_of(name: str) -> str:
    """A file's name without its folder and suffix, as Path has it; many times faster."""
    own = name.rpartition(os.sep)[2]
    return own.rpartition(".")[0] or own


def _is_odd(name: str) -> bool:
    """Whether a path may spell it otherwise."""
    if "/" in name and (os.sep != "/" or name.startswith("/") or name.endswith("/") or "//" in name or "/." in name):
        return True
    return "\\" in name or ":" in name or name in ("", ".", "..") or name.startswith("./")
