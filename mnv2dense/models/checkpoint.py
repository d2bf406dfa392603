"""Models to files and back: the resolved config of a model beside its weights, and nothing that can run.

Every checkpoint, a training run's or a bare model's, carries one entry, ``"mnv2dense"``: a format number, the model's
plain config and the weights to use (averaged ones where training averaged). Reading takes ``weights_only=True``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mnv2dense.models.dense_model import DenseModel
from mnv2dense.models.restore import check_saveable, model_from, restore_model
from mnv2dense.pretrained import Pretrained, read_pretrained
from mnv2dense.pretrained.checkpoint_file import ENTRY, FORMAT, CheckpointError, find_checkpoint, read_checkpoint
from mnv2dense.pretrained.named import resolve
from mnv2dense.pretrained.own_folder import is_own_folder, read_own_folder
from mnv2dense.pretrained.reading import is_foreign
from mnv2dense.pretrained.tensor_files import TORCH_SUFFIXES
from mnv2dense.utils.files import atomic_write


def model_entry(model: DenseModel, weights: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
    """What goes under ``"mnv2dense"`` in a checkpoint; ``weights`` stand in for the model's own if given.

    Raises:
        ValueError: a copy for inference, which no file describes.
    """
    check_saveable(model)
    return {
        "format": FORMAT,
        "config": model.config,
        "weights": dict(model.state_dict() if weights is None else weights),
    }


def save_model(model: DenseModel, path: str | Path) -> Path:
    """Write a model alone, without optimiser or history; :func:`load_model` reads it.

    The file appears whole or not at all: it is written beside its target and moved there.

    Raises:
        ValueError: a copy of :func:`mnv2dense.split_inference`; save the original.
    """
    path = Path(path)
    entry = model_entry(model)
    with atomic_write(path) as file:
        torch.save({ENTRY: entry}, file)
    return path


def load_model(
    path: str | Path, *, device: torch.device | str = "cpu", packages: Sequence[str] = ("mnv2dense",)
) -> DenseModel:
    """The model of a run folder, a checkpoint file or another project's weights, in eval mode.

    Args:
        path: a run folder (its best checkpoint is taken, else its last), a .ckpt file, or weights of a whole model
            that :func:`mnv2dense.pretrained.read_pretrained` reads, such as a Hugging Face folder. A text may also be
            a name or a repository of the Hugging Face hub, see :func:`mnv2dense.pretrained.named.resolve`.
        device: where the model goes.
        packages: packages whose classes the file may name; see :func:`mnv2dense.models.dense_model.build_model`.

    Raises:
        FileNotFoundError: nothing there, here or on the hub.
        DownloadError: the network failed; the message says how to go on by hand.
        ValueError: weights of another project that are damaged, or a backbone without a head.
        CheckpointError: not a checkpoint of this project, damaged, or one that would run code.
        ImportError: it is on the hub and huggingface_hub is not installed.
    """
    file, content = _read(path)
    if isinstance(content, Pretrained):
        return model_from(content, file).to(device)
    try:
        return restore_model(content["config"], content["weights"], packages=packages).to(device)
    except ValueError as error:
        raise CheckpointError(f"{file}: {error}") from error


def _read(path: str | Path) -> tuple[Path, dict[str, Any] | Pretrained]:
    """Whatever holds weights: the file or folder, and our own entry in it or what another project's became."""
    named = resolve(path) if isinstance(path, str) else None
    found = Path(path) if named is None else named
    if is_own_folder(found):
        return found, read_own_folder(found)
    if is_foreign(found):
        return found, read_pretrained(found)
    file = find_checkpoint(found)
    try:
        entry: dict[str, Any] = read_checkpoint(file)[ENTRY]
    except CheckpointError:
        if file.suffix.lower() not in TORCH_SUFFIXES:
            raise
        return file, read_pretrained(file)
    return file, entry


class Loaded(NamedTuple):
    """What :func:`load_weights` took and left, as names of tensors."""

    taken: list[str]
    left: list[str]


def load_weights(model: DenseModel, path: str | Path) -> Loaded:
    """Start a model from another's weights, as far as names and shapes agree (``init_from=``).

    A head for other classes is left as it is where its shapes differ.

    Args:
        model: gets them.
        path: whatever :func:`load_model` takes, and other projects' weights of a backbone alone.

    Raises:
        FileNotFoundError: nothing there, here or on the hub.
        CheckpointError: not one tensor fits, or the weights belong to another padding or normalisation.
        ValueError: weights of another project that are damaged.
    """
    file, content = _read(path)
    if isinstance(content, Pretrained):
        backbone: Mapping[str, Any] = content.options
        tensors = {f"backbone.{name}": tensor for name, tensor in content.backbone.items()}
        tensors |= {f"head.{name}": tensor for name, tensor in content.head.items()}
    else:
        backbone, tensors = content["config"].get("backbone", {}), content["weights"]
    _check_preprocessing(file, backbone, model)
    own = model.state_dict()
    fitting = {name: tensor for name, tensor in tensors.items() if name in own and own[name].shape == tensor.shape}
    if not fitting:
        raise CheckpointError(f"{file}: none of its tensors fits this model; is it of another width?")
    model.load_state_dict(fitting, strict=False)
    return Loaded(sorted(fitting), sorted(own.keys() - fitting.keys()))


def _check_preprocessing(file: Path, theirs: Mapping[str, Any], model: DenseModel) -> None:
    """Weights load into any padding and normalisation, and answer wrongly in all but their own."""
    own = model.config["backbone"]
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in theirs.items()}
    differing = [key for key in ("padding", "norm_eps", "mean", "std") if key in own and plain.get(key) != own[key]]
    if differing:
        options = " ".join(f"backbone.{key}={plain.get(key)}".replace(" ", "") for key in differing)
        raise CheckpointError(
            f"{file} was trained with another {', '.join(differing)} than this model has; start from it with {options}"
        )
