"""What the images of a data set are called in the folder that is written."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from mnv2dense.data.datasets.columns import Paths
from mnv2dense.io.reading import IMAGE_SUFFIXES


def names_of(paths: Sequence[Path]) -> list[str]:
    """P names: the files' places below the folder that all of them lie in, or that their format counts from.

    A name that leads out of that folder is only the file's own.
    """
    if isinstance(paths, Paths):
        return [name if _stays_below(name) else PurePosixPath(name).name for name in map(_as_posix, paths.names())]
    # Not resolve(), which would give the names that links point to.
    whole = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - resolve() would follow links
    base = _common({path.parent for path in whole})
    return [path.name if base is None else path.relative_to(base).as_posix() for path in whole]


class FreeNames:
    """Gives names out, none of them twice; two that differ in case alone are the same on some file systems.

    Args:
        by_stem: two names are the same, too, where only their suffixes differ: label files are called by the stem.
        flat: sub-folders become part of the name.
        reserved: folders of these names are left out of names.
    """

    def __init__(self, *, by_stem: bool, flat: bool = False, reserved: Iterable[str] = ()) -> None:
        self._by_stem, self._flat = by_stem, flat
        self._reserved = frozenset(reserved)
        self._given: set[str] = set()

    def give(self, name: str, path: Path) -> str:
        """The name if it is free and can be read back, else one like it.

        Args:
            name: as posix spells it, below a folder.
            path: of the file, which is asked what it is where its name has no image's suffix.
        """
        *folders, last = [_spelled(part) for part in PurePosixPath(name).parts]
        folders = [folder for folder in folders if folder not in self._reserved]
        stem, suffix = PurePosixPath(last).stem, PurePosixPath(last).suffix
        if self._by_stem:
            if suffix.lower() not in IMAGE_SUFFIXES:  # readers look for these
                stem, suffix = last, _suffix_by_content(path)
            stem = stem.strip()  # as lists of names are read
        start = ("_" if self._flat else "/").join([*folders, stem or "image"])
        free, number = start, 1
        while (key := (free if self._by_stem else f"{free}{suffix}").casefold()) in self._given:
            number += 1
            free = f"{start}_{number}"
        self._given.add(key)
        return f"{free}{suffix}"


def _stays_below(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and not Path(name).is_absolute() and ".." not in path.parts


def _as_posix(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).as_posix()


def _common(folders: Iterable[Path]) -> Path | None:
    """The lowest folder above all of these, or one of them; None of several drives, and of no folder."""
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:
        return None


def _spelled(part: str) -> str:
    """Without letters that a list of names, an xml or a json cannot hold: line breaks, and bytes that are no text."""
    return "".join("_" if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") else letter for letter in part)


def _suffix_by_content(path: Path) -> str:
    from PIL import Image

    try:
        with Image.open(path) as image:
            kind = (image.format or "jpeg").lower()
    except OSError:
        return ".jpg"
    return {"jpeg": ".jpg", "mpo": ".jpg", "tiff": ".tif"}.get(kind, f".{kind}")
