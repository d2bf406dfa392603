"""manifest.json: what a folder of shards holds, and by which checksums it is known. It is written last."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mnv2dense.types.class_lists import Palette
from mnv2dense.utils.numbers import is_whole

MANIFEST = "manifest.json"
"""Its name in the folder."""

_FORMAT = "mnv2dense shards"
_VERSION = 1

TASKS = ("detection", "segmentation", "classification")


class ShardsError(ValueError):
    """Shards that cannot be used; the message names the file, the reason and the next step."""


@dataclass(frozen=True)
class StoredFile:
    """One file of the folder.

    Attributes:
        name: without a folder.
        size: bytes.
        sha256: 64 hexadecimal digits.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Part:
    """The truth of one head, or all of it.

    Attributes:
        task: one of :data:`TASKS`.
        class_names: the K names that labels index.
        category_ids: what boxes' labels are called in the format that they came from, K; else empty.
        palette: RGB of each class of masks; None where nobody said.
        labels_name_classes: as :class:`mnv2dense.data.datasets.image_table.ImageTable` has it.
    """

    task: str
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...] = ()
    palette: Palette | None = None
    labels_name_classes: bool = False


@dataclass(frozen=True)
class Split:
    """The images to train on, say.

    Attributes:
        images: how many there are.
        joint: several heads learn from it, each from one of ``parts``; else there is one part.
        parts: by name.
        columns: the file of all truth but masks, and of where each image lies.
        shards: the files of images and masks.
    """

    images: int
    joint: bool
    parts: dict[str, Part]
    columns: StoredFile
    shards: tuple[StoredFile, ...]


def manifest_json(splits: Mapping[str, Split]) -> str:
    """The text of the file."""
    said = {"format": _FORMAT, "version": _VERSION, "splits": {name: asdict(split) for name, split in splits.items()}}
    return json.dumps(said, indent=1, ensure_ascii=False) + "\n"


def read_manifest(text: bytes, *, source: str) -> dict[str, Split]:
    """The splits of a manifest.

    Args:
        text: of the file.
        source: where it was found, for messages.

    Raises:
        ShardsError: it is none, of a newer version, or damaged.
    """
    try:
        said = json.loads(text)
        if said["format"] != _FORMAT or not is_whole(said["version"]):
            raise ValueError("format")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ShardsError(f"{source}: no manifest of shards. tools/shard.py writes them.") from error
    if said["version"] > _VERSION:
        raise ShardsError(f"{source}: of version {said['version']}, and this reads {_VERSION}. Update mnv2dense.")
    try:
        return {_text(name): _split(split) for name, split in said["splits"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ShardsError(f"{source}: damaged ({error}). Copy it again, or write the shards again.") from error


def _split(said: Mapping[str, Any]) -> Split:
    parts = {_text(name): _part(part) for name, part in said["parts"].items()}
    shards = tuple(_file(file) for file in said["shards"])
    if not parts or not shards or not isinstance(said["joint"], bool) or (len(parts) > 1 and not said["joint"]):
        raise ValueError("parts or shards are not as they should be")
    return Split(_count(said["images"]), said["joint"], parts, _file(said["columns"]), shards)


def _part(said: Mapping[str, Any]) -> Part:
    if said["task"] not in TASKS:
        raise ValueError(f"task {said['task']!r}")
    palette = said["palette"]
    if palette is not None:
        palette = tuple((_count(red), _count(green), _count(blue)) for red, green, blue in palette)
    names = tuple(_text(name) for name in said["class_names"])
    ids = tuple(_whole(category) for category in said["category_ids"])
    return Part(said["task"], names, ids, palette, said["labels_name_classes"] is True)


def _file(said: Mapping[str, Any]) -> StoredFile:
    # A name that leads elsewhere would have a stranger's manifest read or write any file of this machine.
    if not re.fullmatch(r"[\w-][\w.-]*", name := _text(said["name"])):
        raise ValueError(f"file name {name!r}")
    if not re.fullmatch(r"[0-9a-f]{64}", sha256 := _text(said["sha256"])):
        raise ValueError(f"sha256 {sha256!r}")
    return StoredFile(name, _count(said["size"]), sha256)


def _text(said: object) -> str:
    if not isinstance(said, str):
        raise ValueError(f"{said!r} is no text")
    return said


def _whole(said: object) -> int:
    if not is_whole(said):
        raise ValueError(f"{said!r} is no whole number")
    return said


def _count(said: object) -> int:
    if _whole(said) < 0:
        raise ValueError(f"{said!r} is negative")
    return _whole(said)
