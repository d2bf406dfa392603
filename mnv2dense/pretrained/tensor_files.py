"""Files of tensors, read without running anything they may contain."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file.

    Raises:
        ValueError: damaged or cut short.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read ({error}); it is damaged or cut short: copy it again.") from error


def read_torch_file(path: Path) -> dict[str, Any]:
    """The dict in a file that torch.save wrote: tensors and plain values, never code.

    Raises:
        ValueError: damaged, no such file of torch's, or holding objects that loading would run.
    """
    try:
        with warnings.catch_warnings():  # torch warns of pickles that it is about to refuse
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader answers other bytes with whatever it falls over
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} is refused: it is damaged, or holds objects that loading would run ({reason}). "
            "Save the model's state_dict() alone."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a dict of tensors: save a state_dict().")
    return content
