"""Models to files and back: the resolved config of a model beside its weights, and nothing that can run.

Every checkpoint, a training run's or a bare model's, carries one entry, ``"mnv2dense"``: a format number, the model's
plain config and the weights to use (averaged ones where training averaged). Reading takes ``weights_only=True``.
"""

from __future__ import annotations

import pickle
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mnv2dense.atomic_file import atomic_write
from mnv2dense.model import DenseModel, build_model

ENTRY = "mnv2dense"
_FORMAT = 1


class CheckpointError(ValueError):
    """A file that cannot be used as a checkpoint; the message names it, what is wrong and what to do."""


def model_entry(model: DenseModel, weights: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
    """What goes under ``"mnv2dense"`` in a checkpoint; ``weights`` stand in for the model's own if given."""
    return {
        "format": _FORMAT,
        "config": model.config,
        "weights": dict(model.state_dict() if weights is None else weights),
    }


def save_model(model: DenseModel, path: str | Path) -> Path:
    """Write a model alone, without optimiser or history; :func:`load_model` reads it.

    The file appears whole or not at all: it is written beside its target and moved there.
    """
    path = Path(path)
    with atomic_write(path) as file:
        torch.save({ENTRY: model_entry(model)}, file)
    return path


def load_model(
    path: str | Path, *, device: torch.device | str = "cpu", packages: Sequence[str] = ("mnv2dense",)
) -> DenseModel:
    """The model of a run folder or a checkpoint file, in eval mode.

    Args:
        path: a run folder (its best checkpoint is taken, else its last), or a file.
        device: where the model goes.
        packages: packages whose classes the file may name; see :func:`mnv2dense.model.build_model`.

    Raises:
        FileNotFoundError: nothing there.
        CheckpointError: not a checkpoint of this project, damaged, or one that would run code.
    """
    file = find_checkpoint(path)
    entry = read_checkpoint(file)[ENTRY]
    try:
        model = build_model(entry["config"], packages=packages)
        model.load_state_dict(entry["weights"])
    except (ValueError, RuntimeError, TypeError, KeyError, AttributeError, IndexError) as error:
        # Of a wrong width torch lists every tensor.
        raise CheckpointError(f"{file}: {textwrap.shorten(str(error), 400)}") from error
    return model.to(device).eval()


class Loaded(NamedTuple):
    """What :func:`load_weights` took and left, as names of tensors."""

    taken: list[str]
    left: list[str]


def load_weights(model: DenseModel, path: str | Path) -> Loaded:
    """Start a model from another's weights, as far as names and shapes agree (``init_from=``).

    A head for other classes is left as it is where its shapes differ.

    Raises:
        CheckpointError: not one tensor fits, or the weights belong to another padding or normalisation.
    """
    file = find_checkpoint(path)
    entry = read_checkpoint(file)[ENTRY]
    _check_preprocessing(file, entry["config"], model)
    own = model.state_dict()
    fitting = {
        name: tensor for name, tensor in entry["weights"].items() if name in own and own[name].shape == tensor.shape
    }
    if not fitting:
        raise CheckpointError(f"{file}: none of its tensors fits this model; is it of another width?")
    model.load_state_dict(fitting, strict=False)
    return Loaded(sorted(fitting), sorted(own.keys() - fitting.keys()))


def _check_preprocessing(file: Path, config: Mapping[str, Any], model: DenseModel) -> None:
    """Weights load into any padding and normalisation, and answer wrongly in all but their own."""
    theirs = config.get("backbone", {})
    own = model.config["backbone"]
    differing = [key for key in ("padding", "norm_eps", "mean", "std") if key in own and theirs.get(key) != own[key]]
    if differing:
        options = " ".join(f"backbone.{key}={theirs.get(key)}".replace(" ", "") for key in differing)
        raise CheckpointError(
            f"{file} was trained with another {', '.join(differing)} than this model has; start from it with {options}"
        )


def find_checkpoint(path: str | Path, *, names: Sequence[str] = ("best.ckpt", "last.ckpt")) -> Path:
    """The file itself, or the first of ``names`` in a run folder.

    Raises:
        FileNotFoundError: neither; the message says where was looked.
    """
    path = Path(path)
    if path.is_file():
        return path
    for folder in (path / "checkpoints", path):
        for name in names:
            if (folder / name).is_file():
                return folder / name
    what = "holds no checkpoints/best.ckpt or checkpoints/last.ckpt" if path.is_dir() else "does not exist"
    raise FileNotFoundError(
        f"{str(path)!r} {what} (looked at {path.absolute()}). "
        "Give a run folder such as runs/detection/2025-01-31_12-00-00, or a .ckpt file."
    )


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Everything in a checkpoint, read without running anything it may contain.

    Raises:
        CheckpointError: damaged, foreign, or holding pickled objects that would run code.
    """
    try:
        with warnings.catch_warnings():  # torch warns of pickles that it is about to refuse
            warnings.simplefilter("ignore")
            content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file} is refused: it holds pickled objects that loading would run, or is no checkpoint at all. "
            "Checkpoints of mnv2dense hold tensors and plain values only; get the file from who trained it."
        ) from error
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read ({error}).") from error
    except Exception as error:  # torch's reader answers other bytes with whatever it falls over
        raise CheckpointError(f"{file} cannot be read ({error}); it is damaged, cut short or no checkpoint.") from error
    content = content if isinstance(content, dict) else {}
    entry = content.get(ENTRY)
    if not isinstance(entry, dict) or not {"format", "config", "weights"} <= entry.keys():
        raise CheckpointError(
            f"{file} is not a checkpoint of mnv2dense: it has no entry {ENTRY!r}. "
            "Backbones of other projects go to backbone.weights=."
        )
    if entry["format"] != _FORMAT:
        raise CheckpointError(f"{file} has format {entry['format']}, this version reads {_FORMAT}: update mnv2dense.")
    return dict(content)
