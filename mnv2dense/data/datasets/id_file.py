"""Ids of images and categories that a format has no place for, in a file ``ids.json`` beside it.

``tools/convert.py`` writes it, so that what a model finds on a converted data set carries the ids of the original.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mnv2dense.data.datasets.columns import WholeNumbers
from mnv2dense.data.datasets.image_list import ids_from_stems
from mnv2dense.data.datasets.label_values import is_id
from mnv2dense.utils.text_files import read_text

FILE_NAME = "ids.json"


class IdFile(NamedTuple):
    """What the file says; nothing of a folder without one.

    Attributes:
        root: the folder.
        categories: name of a class -> its id, in the order of the labels.
        images: path below ``root`` -> id.
    """

    root: Path
    categories: Mapping[str, int]
    images: Mapping[str, int]

    @classmethod
    def of(cls, root: Path) -> IdFile:
        """The file of a folder.

        Raises:
            ValueError: it is not as it should be.
        """
        file = root / FILE_NAME
        if not file.is_file():
            return cls(root, {}, {})
        try:
            content = json.loads(read_text(file))
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"{file}: not valid json ({error}). Convert again, or remove it.") from error
        found = [_ids(file, content, key) for key in ("categories", "images")]
        return cls(root, *found)

    def of_images(self, paths: Sequence[Path]) -> WholeNumbers:
        """P unique ids: those that the file has, the next free ones for other images; without any, as always."""
        if not self.images:
            return ids_from_stems(paths)
        known = [self.images.get(os.path.relpath(path, self.root).replace(os.sep, "/")) for path in paths]
        return WholeNumbers(np.array(_completed(known), np.int64))

    def of_classes(self, class_names: Sequence[str]) -> list[int] | None:
        """K unique ids, likewise by name; None where the file has none."""
        return _completed([self.categories.get(name) for name in class_names]) if self.categories else None


def _ids(file: Path, content: Any, key: str) -> dict[str, int]:  # noqa: ANN401 - whatever json holds
    found = content.get(key, {}) if isinstance(content, dict) else None
    if not isinstance(found, dict) or not all(is_id(number) for number in found.values()):
        raise ValueError(f"{file}: {key!r} is no mapping of names to whole numbers. Convert again, or remove it.")
    if key == "categories" and len(set(found.values())) != len(found):
        raise ValueError(f"{file}: two categories have the same id. Convert again, or remove it.")
    return found


def _completed(known: Sequence[int | None]) -> list[int]:
    """The same, with numbers above all others where there is none, or one that is taken."""
    following = max((number for number in known if number is not None), default=0) + 1
    taken: set[int] = set()
    ids = []
    for number in known:
        if number is None or number in taken:
            number, following = following, following + 1
        taken.add(number)
        ids.append(number)
    return ids
