"""Whatever answers, from what a user named: a checkpoint, a model by name, or an exported file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from mnv2dense.models.checkpoint import load_model
from mnv2dense.protocols import Model
from mnv2dense.runtimes.exported_model import ExportedModel
from mnv2dense.runtimes.metadata import is_exported
from mnv2dense.utils.device import device_of


def open_model(
    path: str | Path,
    *,
    device: str | torch.device = "auto",
    threads: int | None = None,
    packages: Sequence[str] = ("mnv2dense",),
) -> Model:
    """A model ready to answer.

    Args:
        path: an exported file (.onnx, .xml, .pte, .tflite), or anything that :func:`mnv2dense.load_model` takes.
        device: where it goes; "auto" is a GPU where there is one, and the CPU for an exported file.
        threads: of an exported file's runtime; None takes what it takes.
        packages: packages whose classes a checkpoint may name.

    Raises:
        ValueError: another device than the CPU for an exported file, ``threads`` for anything else, or no such device;
            or what :func:`mnv2dense.load_model` or :class:`mnv2dense.ExportedModel` raise, among other errors.
    """
    if is_exported(path):
        return ExportedModel(path, threads=threads).for_inference(device)
    if threads is not None:
        raise ValueError(
            f"threads={threads} is for exported files; torch's are set by OMP_NUM_THREADS or torch.set_num_threads."
        )
    return load_model(path, device=device_of(device), packages=packages)
