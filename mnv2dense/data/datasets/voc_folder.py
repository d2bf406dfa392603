"""Where VOC keeps its files, whether boxes or masks are wanted (VOC 2012 development kit, section 3)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mnv2dense.data.datasets.columns import Names, Paths, stem_of
from mnv2dense.io.reading import IMAGE_SUFFIXES
from mnv2dense.utils.text_files import read_text


def voc_folder(root: Path, year: str, content: str) -> Path:
    """The folder that has a folder ``content``: ``root``, or its ``VOC{year}``, or that of its ``VOCdevkit``.

    Raises:
        FileNotFoundError: there is none.
    """
    candidates = [root / f"VOC{year}", root / "VOCdevkit" / f"VOC{year}", root]
    for folder in candidates:
        if (folder / content).is_dir():
            return folder
    if not root.is_dir():
        raise FileNotFoundError(f"root={root}: no such folder (looked from {Path.cwd()}).")
    there = sorted(path.name for path in root.iterdir())[:10]
    raise FileNotFoundError(
        f"root={root}: no {content} folder in {', '.join(map(str, candidates))}. Set root= "
        f"to the VOCdevkit or to a folder with {content}, JPEGImages and ImageSets, and year=; "
        f"it has: {there}."
    )


def listed_names(folder: Path, task: str, split: str) -> list[str]:
    """The names in ``ImageSets/{task}/{split}.txt``.

    Raises:
        FileNotFoundError: no such list.
        ValueError: it has a name twice.
    """
    file = folder / "ImageSets" / task / f"{split}.txt"
    if not file.is_file():
        there = sorted(path.stem for path in file.parent.glob("*.txt"))
        raise FileNotFoundError(f"{file}: no such split; there are: {', '.join(there[:20]) or 'none'}.")
    stems = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    twice = [stem for stem, count in Counter(stems).items() if count > 1]
    if twice:
        raise ValueError(f"{file}: listed more than once: {', '.join(twice[:10])}. Remove the repeats.")
    return stems


def image_paths(folder: Path, stems: Iterable[str]) -> Paths:
    """``{stem}.jpg``, or with another image's suffix where that is what there is; a stem may begin with sub-folders."""
    wanted = list(stems)
    found: dict[str, str] = {}
    for below in {stem.rpartition("/")[0] for stem in wanted}:
        there = names_in(folder / below, IMAGE_SUFFIXES) if (folder / below).is_dir() else []
        begins = f"{below}/" if below else ""
        found |= {f"{begins}{stem_of(name)}": f"{begins}{name}" for name in there}
    return Paths(folder, Names.of(found.get(stem, f"{stem}.jpg") for stem in wanted))


def names_in(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """The names in a folder that end so, in small letters or large, sorted, without what a Mac puts beside them."""
    with os.scandir(folder) as entries:
        names = (entry.name for entry in entries)
        return sorted(name for name in names if name.lower().endswith(suffixes) and not name.startswith("._"))
