"""A model of ours in a folder as the Hugging Face hub keeps models: config.json and model.safetensors.

The tensors' file says what it holds, too, for whoever has it alone; in a folder config.json counts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mnv2dense.pretrained.checkpoint_file import ENTRY, FORMAT, CheckpointError
from mnv2dense.pretrained.tensor_files import read_safetensors


def is_own_folder(path: Path) -> bool:
    """Whether this folder's config.json says that it is ours; others have theirs under the same name."""
    return ENTRY in _config(path)


def read_own_folder(folder: Path) -> dict[str, Any]:
    """The model, as a checkpoint's entry has it: ``format``, ``config`` and ``weights``.

    Raises:
        CheckpointError: not ours, of another format, or incomplete.
        ValueError: the tensors are damaged.
    """
    entry = _config(folder).get(ENTRY)
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        raise CheckpointError(f"{folder / 'config.json'} describes no model of mnv2dense: it has no {ENTRY!r} in it.")
    if entry.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder} has format {entry.get('format')}, this version reads {FORMAT}: update mnv2dense."
        )
    tensors = folder / "model.safetensors"
    if not tensors.is_file():
        raise CheckpointError(f"{tensors} is missing beside its config.json; copy the whole folder again.")
    return {"format": FORMAT, "config": entry["config"], "weights": read_safetensors(tensors)}


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}
