"""Thresholds and temperatures written into the file of a model: they are chosen when its weights have been scored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from mnv2dense.pretrained.checkpoint_file import ENTRY, find_checkpoint, read_checkpoint
from mnv2dense.pretrained.named import is_path
from mnv2dense.pretrained.own_folder import is_own_folder
from mnv2dense.runtimes.formats import is_exported
from mnv2dense.types import Thresholds
from mnv2dense.types.temperatures import kept_temperatures
from mnv2dense.types.thresholds import kept
from mnv2dense.utils.files import atomic_write


def file_to_keep_in(path: str | Path) -> Path:
    """The file that :func:`write_kept` would rewrite; whatever is wrong with it is told by reading it.

    Args:
        path: a run folder, a .ckpt file, or a folder of :func:`mnv2dense.save_pretrained`.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: an exported file, or a name of a model that is not on this disk.
    """
    if is_exported(path):
        raise ValueError(
            f"{path}: thresholds cannot be kept in an exported file, which stays as it is. Keep them in the checkpoint "
            "that it was made of, and export that again."
        )
    if isinstance(path, str) and not is_path(path):
        raise ValueError(
            f"{path}: thresholds are kept in a checkpoint of your own; save the model first, by mnv2dense.save_model "
            "or save_pretrained, and give that file or folder."
        )
    folder = Path(path)
    return folder / "config.json" if is_own_folder(folder) else find_checkpoint(folder)


def write_kept(
    path: str | Path, thresholds: Mapping[str, Thresholds], temperatures: Mapping[str, float] = MappingProxyType({})
) -> Path:
    """Keep what was chosen with the model in a file, in the place of what was; all else in it stays as it was.

    The file is replaced when the new one is on the disk whole. Versions that know neither read it as before.

    Args:
        path: see :func:`file_to_keep_in`.
        thresholds: name of the head -> its own; "" is an only head. Without any those of the file stay.
        temperatures: likewise.

    Returns:
        The file.

    Raises:
        FileNotFoundError, ValueError: see :func:`file_to_keep_in`; or a damaged file, which stays as it is.
        OSError: it cannot be written.
    """
    file = file_to_keep_in(path)
    chosen: dict[str, Any] = {"thresholds": kept(thresholds)} if thresholds else {}
    chosen |= {"temperatures": kept_temperatures(temperatures)} if temperatures else {}
    if file.name == "config.json":
        content = json.loads(file.read_text(encoding="utf-8"))
        content[ENTRY]["config"] |= chosen
        with atomic_write(file) as new:
            new.write((json.dumps(content, indent=2) + "\n").encode())
        return file
    content = read_checkpoint(file)
    config = content[ENTRY]["config"]
    if config == config | chosen:
        return file  # a run that is scored once more
    config |= chosen
    with atomic_write(file) as new:
        torch.save(content, new)
    return file
