"""What somebody may have meant by a word that is none of those known."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path


def near(word: str, known: Iterable[str], *, count: int = 1, cutoff: float = 0.6) -> list[str]:
    """The known words that are most alike, the nearest first; capital and small letters count as the same.

    Args:
        word: as it was written.
        known: what would have been right.
        count: how many at most.
        cutoff: how alike they must be, 0..1: twice the letters in common, as a share of both words' letters.
    """
    written: dict[str, str] = {}
    for each in known:
        written.setdefault(each.lower(), each)
    return [written[found] for found in difflib.get_close_matches(word.lower(), written, n=count, cutoff=cutoff)]


def did_you_mean(word: str, known: Iterable[str], *, before: str = "") -> str:
    """How a message goes on after "there is no such option": "; did you mean nms=true?", or "." where nothing is alike.

    Args:
        word: as it was written.
        known: what would have been right.
        before: stands before the known word, as in "nms=".
    """
    found = near(word, known)
    return f"; did you mean {before}{found[0]}?" if found else "."


def did_you_mean_path(path: Path, wanted: Callable[[Path], bool]) -> str:
    """How a message goes on after "runs/one does not exist.": " Did you mean runs/ones or runs/once?"; else nothing.

    Args:
        path: as it was written; any of its folders may be misspelt too.
        wanted: whether a file or folder would do.
    """
    *others, last = [str(found) for found in _near_paths(path, wanted)] or [""]
    return f" Did you mean {' or '.join(filter(None, [', '.join(others), last]))}?" if last else ""


_PATHS = 3


def _near_paths(path: Path, wanted: Callable[[Path], bool]) -> list[Path]:
    *folders, last = path.parts or (".",)
    found = [Path()]
    for part in folders:
        below = [here / part for here in found if (here / part).is_dir()]
        found = below or [each for here in found for each in _near_in(here, part, Path.is_dir)][:_PATHS]
    return [each for here in found for each in _near_in(here, last, wanted)][:_PATHS]


def _near_in(folder: Path, name: str, wanted: Callable[[Path], bool]) -> list[Path]:
    try:
        known = [each.name for each in folder.iterdir() if wanted(each)]
    except OSError:  # nobody may look in there
        return []
    return [folder / each for each in near(name, sorted(known), count=_PATHS)]
