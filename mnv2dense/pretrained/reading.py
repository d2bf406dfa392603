"""Which project's weights are these? One door for all of them."""

from __future__ import annotations

from pathlib import Path

from mnv2dense.checkpoint_file import is_own_checkpoint
from mnv2dense.pretrained import huggingface, own
from mnv2dense.pretrained.contents import Pretrained


def read_pretrained(weights: str | Path) -> Pretrained:
    """Read weights of any project that is known here.

    Args:
        weights: a run folder or .ckpt file of our own, or a Hugging Face folder (config.json + model.safetensors).

    Raises:
        FileNotFoundError: no such folder, or a file of it is missing.
        ValueError: the folder holds another architecture, or a variant whose layout is not the paper's.
    """
    folder = Path(weights)
    if is_own_checkpoint(folder):
        return own.read(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"weights={str(weights)!r}: no such folder (looked at {folder.absolute()}). "
            "Give a Hugging Face folder that holds config.json and model.safetensors."
        )
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder / name} is missing: a Hugging Face folder of weights holds config.json and model.safetensors."
            )
    return huggingface.read_folder(folder)
