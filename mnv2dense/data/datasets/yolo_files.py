"""Where a YOLO data set keeps its images and labels, and what its data.yaml says."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from mnv2dense.data.datasets import label_values
from mnv2dense.data.datasets.columns import Paths, spelled
from mnv2dense.data.datasets.image_list import missing_images
from mnv2dense.io.reading import list_images
from mnv2dense.utils.files import is_file
from mnv2dense.utils.numbers import is_whole
from mnv2dense.utils.text_files import read_text, read_yaml

_log = logging.getLogger(__name__)


class YoloConfig(NamedTuple):
    """A data.yaml.

    Attributes:
        file: it; None where there is none.
        content: its mapping; empty where there is none.
    """

    file: Path | None
    content: Mapping[str, Any]

    @property
    def keypoints(self) -> tuple[int, int] | None:
        """``kpt_shape``: how many key points follow each box, and of how many values each is."""
        shape = self.content.get("kpt_shape")
        if shape is None:
            return None
        if not isinstance(shape, list) or len(shape) != 2 or not all(is_whole(n) and n > 0 for n in shape):
            raise ValueError(f"{self.file}: kpt_shape is {shape!r:.80}; give [points, values of each], as in [17, 3].")
        return shape[0], shape[1]

    @property
    def are_outlines(self) -> bool:
        """Whether it says ``task: segment``."""
        return self.content.get("task") in ("segment", "segmentation")


class YoloFiles(NamedTuple):
    """The images of a split, and the file of each one's labels, there or not.

    Attributes:
        source: the folder or list that names the images, for messages.
        images: P paths.
        labels: P paths.
        label_folders: folders whose every label file is of this split.
    """

    source: Path
    images: Paths
    labels: Paths
    label_folders: list[Path]


def read_config(root: Path) -> YoloConfig:
    """The data set's data.yaml, where it has one.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: it is no mapping.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"root={root}: no such folder (looked from {Path.cwd()}).")
    for file in (root / "data.yaml", root / "data.yml", root / "dataset.yaml"):
        if file.is_file():
            content = read_yaml(file)
            if not isinstance(content, dict):
                raise ValueError(f"{file}: no mapping of names to values, such as 'names: [cat, dog]'.")
            return YoloConfig(file, content)
    return YoloConfig(None, {})


def class_names_of(root: Path, config: YoloConfig) -> tuple[str, ...]:
    """The names in data.yaml, else in classes.txt.

    Raises:
        FileNotFoundError: neither is there.
        ValueError: they are not valid.
    """
    if config.file is not None:
        names = config.content.get("names")
        if isinstance(names, dict):
            if set(names) != set(range(len(names))) or not all(is_whole(key) for key in names):
                raise ValueError(
                    f"{config.file}: the keys of 'names' are {list(names)[:10]}, not 0, 1, 2, ... Write 0: name, "
                    "1: name, without quotes around the numbers, or a list."
                )
            names = [names[label] for label in range(len(names))]
        if not isinstance(names, list) or not names:
            raise ValueError(
                f"{config.file}: 'names' is {names!r:.100}; give the class names as a list, or 0: name, 1: ..."
            )
        announced = config.content.get("nc")
        if announced is not None and announced != len(names):
            raise ValueError(
                f"{config.file}: nc is {announced!r:.40}, but 'names' lists {len(names)} classes. Correct one of them."
            )
        return label_values.class_names(names, source=config.file)
    if (root / "classes.txt").is_file():
        lines = read_text(root / "classes.txt").splitlines()
        return label_values.class_names([line for line in lines if line.strip()], source=root / "classes.txt")
    raise FileNotFoundError(
        f"{root}: no class names: neither data.yaml nor classes.txt is there. Write one, or set class_names."
    )


def find_files(root: Path, split: str, config: YoloConfig) -> YoloFiles:
    """The images of a split: those that data.yaml names, else those of the customary folder.

    Raises:
        FileNotFoundError: there is neither.
        ValueError: data.yaml or a list is not valid.
    """
    named = _named(root, split, config)
    images: list[Path] = []
    labels: list[str] = []
    label_folders: list[Path] = []
    pairs = [_customary(root, split)] if named is None else [(entry, _labels_of(entry)) for entry in named]
    for entry, own_labels in pairs:
        if entry.is_dir():
            found = list_images(entry, recursive=True)
            label_folders.append(own_labels)
            below = Paths.below(entry, found).names()
            labels += [f"{own_labels}{os.sep}{name.rpartition('.')[0]}.txt" for name in below]
        else:
            found = _listed(entry, root)
            labels += [os.fspath(_labels_of(path.parent) / f"{path.stem}.txt") for path in found]
        images += found
    # An image is called by its place below the folder of all, here as where nobody names it: that of the split.
    return YoloFiles(pairs[0][0], Paths.below(_common(images, root), images), Paths.below(root, labels), label_folders)


def _common(images: Sequence[Path], root: Path) -> Path:
    """The lowest folder above all of these; ``root`` of none, and of several drives."""
    try:
        return Path(os.path.commonpath({path.parent for path in images}))
    except ValueError:
        return root


def _named(root: Path, split: str, config: YoloConfig) -> list[Path] | None:
    """The folders and lists that data.yaml has for the split; None if it has none, or none that is there."""
    if config.file is None:
        return None
    keys = (split, "valid", "validation") if split == "val" else (split,)
    key = next((key for key in keys if config.content.get(key) is not None), None)
    if key is None:
        return None
    given = config.content[key]
    entries = given if isinstance(given, list) else [given]
    if not entries or not all(isinstance(entry, str) and entry.strip() for entry in entries):
        raise ValueError(f"{config.file}: {key} is {given!r:.100}; give a folder, a list of images (.txt), or several.")
    base = config.content.get("path")
    bases = [root / base, root] if isinstance(base, str) else [root]
    found = [_first_there(bases, entry) for entry in entries]
    if all(found):
        return [path for path in found if path is not None]
    lost = ", ".join(f"{entry:.300}" for entry, path in zip(entries, found, strict=True) if path is None)
    if any(found):
        raise FileNotFoundError(f"{config.file}: {key} names {lost}, which is not there (looked from {bases[0]}).")
    # Many were written for the machine that they were made on.
    _log.warning("%s: %s names %s, which is not there; the customary folders are looked at.", config.file, key, lost)
    return None


def _first_there(bases: Sequence[Path], entry: str) -> Path | None:
    """The entry from one of the bases; ``../train`` is also looked for as ``train``, as Roboflow writes it."""
    tried = [base / name for base in bases for name in (entry, entry.removeprefix("../"))]
    return next((path for path in tried if _is_folder_or_list(path)), None)


def _is_folder_or_list(path: Path) -> bool:
    with suppress(OSError):  # a name that no file can have, or a folder of somebody else
        return path.is_dir() or (path.is_file() and path.suffix == ".txt")
    return False


def _listed(file: Path, root: Path) -> list[Path]:
    """The images of a list, one path a line: relative to the list where they begin with a dot, else to the root."""
    names = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    paths = []
    for name in names:
        beside, below = file.parent / name, root / name
        paths.append(beside if name.startswith("./") or not is_file(below) else below)
    twice = sorted(str(path) for path, count in Counter(paths).items() if count > 1)
    if twice:
        raise ValueError(f"{file}: listed more than once: {', '.join(twice[:5])}. Remove the repeats.")
    return paths


def files_of_ignored(labels: Sequence[Path]) -> list[Path | None]:
    """Where the regions to ignore of each of P label files are: under ``ignored`` in place of the last ``labels``.

    None where there is no such folder.
    """
    folders: dict[Path, Path | None] = {}
    for folder in {file.parent for file in labels}:
        ignored = _swapped(folder, "labels", "ignored")
        folders[folder] = ignored if ignored != folder and ignored.is_dir() else None
    below = [folders[file.parent] for file in labels]
    return [None if folder is None else folder / file.name for folder, file in zip(below, labels, strict=True)]


def _labels_of(images: Path) -> Path:
    """The folder of the labels of a folder of images: ``labels`` in place of the last ``images``, else the same."""
    return _swapped(images, "images", "labels")


def _swapped(folder: Path, one: str, other: str) -> Path:
    """A path with the last part of one name replaced by another; the same where there is none."""
    parts = folder.parts
    for place in range(len(parts) - 1, -1, -1):
        if parts[place] == one:
            return Path(*parts[:place], other, *parts[place + 1 :])
    return folder


def _customary(root: Path, split: str) -> tuple[Path, Path]:
    """The folders of images and of labels."""
    names = (split, "valid") if split == "val" else (split,)
    layouts = [
        pair for name in names for pair in ((f"images/{name}", f"labels/{name}"), (f"{name}/images", f"{name}/labels"))
    ]
    for images, labels in layouts:
        if (root / images).is_dir():
            if not (root / labels).is_dir():
                raise FileNotFoundError(f"{root / labels}: no such folder, beside {images} it holds the labels.")
            return root / images, root / labels
    looked = ", ".join(images for images, _ in layouts)
    there = ", ".join(sorted(path.name for path in root.iterdir())[:10]) or "nothing"
    raise FileNotFoundError(
        f"root={root}: no images of split {split!r}; looked for {looked}. Set root= to the folder "
        f"that holds images/ and labels/; it has: {there}."
    )


def report_unmatched(files: YoloFiles) -> None:
    """One line in the log for images without a label file, and one for label files without an image."""
    missing = set(missing_images(files.labels))
    without = (
        [path for path, file in zip(files.images, files.labels, strict=True) if file in missing] if missing else []
    )
    if without:
        _log.warning(
            "%s: %d of %d images have no label file, such as %s; they are taken to show no object.",
            *(files.source, len(without), len(files.images), without[0].name),
        )
    known = set(spelled(files.labels))
    for folder in files.label_folders:
        found = (f"{base}{os.sep}{name}" for base, _, names in os.walk(folder) for name in names)
        stray = sorted(Path(text) for text in found if text.endswith(".txt") and text not in known)
        stray = [path for path in stray if path.name != "classes.txt"]
        if stray:
            _log.warning("%s: %d label files fit no image, such as %s.", folder, len(stray), stray[0].name)
