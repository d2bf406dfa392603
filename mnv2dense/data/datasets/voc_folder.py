"""Where VOC keeps its files, whether boxes or masks are wanted (VOC 2012 development kit, section 3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mnv2dense.io.reading import IMAGE_SUFFIXES, is_macos
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


def image_paths(folder: Path, stems: Iterable[str]) -> list[Path]:
    """``{stem}.jpg``, or with another image's suffix where that is what there is; a stem may begin with sub-folders."""
    wanted = [folder / f"{stem}.jpg" for stem in stems]
    found: dict[Path, Path] = {}
    for below in {folder, *(path.parent for path in wanted)}:
        there = sorted(below.iterdir()) if below.is_dir() else []
        found |= {
            path.parent / f"{path.stem}.jpg": path
            for path in there
            if path.suffix.lower() in IMAGE_SUFFIXES and not is_macos(path)
        }
    return [found.get(path, path) for path in wanted]
