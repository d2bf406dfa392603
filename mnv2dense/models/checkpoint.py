"""Models to files and back: the resolved config of a model beside its weights, and nothing that can run.

Every checkpoint, a training run's or a bare model's, carries one entry, ``"mnv2dense"``: a format number, the model's
plain config and the weights to use (averaged ones where training averaged). Reading takes ``weights_only=True``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mnv2dense.backbones import BACKBONES
from mnv2dense.models.backbone import choice_of
from mnv2dense.models.class_predictors import bring
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.models.finite import check_finite
from mnv2dense.models.joint_weights import as_described_there, as_named_there, fitted, part_for
from mnv2dense.models.restore import check_saveable, model_from, packages_of, restore_model
from mnv2dense.pretrained import Pretrained, read_pretrained
from mnv2dense.pretrained.checkpoint_file import ENTRY, FORMAT, CheckpointError, find_checkpoint, read_checkpoint
from mnv2dense.pretrained.named import resolve
from mnv2dense.pretrained.own_folder import is_own_folder, read_own_folder
from mnv2dense.pretrained.reading import is_foreign
from mnv2dense.pretrained.tensor_files import TORCH_SUFFIXES
from mnv2dense.utils.files import atomic_write
from mnv2dense.utils.renamed import address_now


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
    return _model_of(file, content, packages=packages).to(device)


def _model_of(file: Path, content: dict[str, Any] | Pretrained, *, packages: Sequence[str]) -> DenseModel:
    if isinstance(content, Pretrained):
        return model_from(content, file)
    try:
        return restore_model(content["config"], content["weights"], packages=packages)
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
    """What :func:`load_weights` took and left.

    Attributes:
        taken: names of tensors that hold what the file has, class predictors with their rows where the classes are.
        left: names of those that stay as they were.
        kept: classes whose predictors the file had.
        classes: what became of the classes, in a line; empty where the file has none.
    """

    taken: list[str]
    left: list[str]
    kept: tuple[str, ...] = ()
    classes: str = ""


def load_weights(model: DenseModel, path: str | Path) -> Loaded:
    """Start a model from another's weights (``init_from=``): tensors by name and shape, class predictors by class.

    What predicts a class comes along if the file knows a class of that name, wherever it stands in either list; the
    predictors of other classes stay as they are. Of several heads each is taken by its name; a model of one head begins
    the one of its kind among several, or begins with it. A head that does not say which rows are its classes'
    (:class:`mnv2dense.protocols.ClassRows`) is taken where both lists are the same, else only its tensors whose shapes
    do not go by the number of classes.

    Args:
        model: gets them.
        path: whatever :func:`load_model` takes, and other projects' weights of a backbone alone.

    Raises:
        FileNotFoundError: nothing there, here or on the hub.
        CheckpointError: not one tensor fits, one has NaN or infinity, or the weights belong to another backbone,
            padding or normalisation.
        ValueError: weights of another project that are damaged.
    """
    file, content = _read(path)
    if isinstance(content, Pretrained):
        backbone: Mapping[str, Any] = {"_target_": _class_of(content.kind), **content.options}
        tensors = {f"backbone.{name}": tensor for name, tensor in content.backbone.items()}
        tensors |= {f"head.{name}": tensor for name, tensor in content.head.items()}
    else:
        backbone, tensors = content["config"].get("backbone", {}), content["weights"]
    _check_kind(file, backbone, model)
    _check_preprocessing(file, backbone, model)
    described = _described(content, model)
    if (part := part_for(described, model)) is not None:
        assert described is not None
        tensors, described = as_named_there(tensors, model, part), as_described_there(described, model, part)
    own = model.state_dict()
    fitting = {name: tensor for name, tensor in tensors.items() if name in own and own[name].shape == tensor.shape}
    if not fitting:
        raise CheckpointError(f"{file}: none of its tensors fits this model; is it of another width?")
    try:
        check_finite(model, fitting)
    except ValueError as error:
        raise CheckpointError(f"{file}: {error}") from error
    source = partial(_model_of, file, content, packages=packages_of(model.config))
    brought = bring(model, fitting, described, source if part is None else lambda: fitted(source(), model, part))
    model.load_state_dict(brought.tensors, strict=False)
    return Loaded(sorted(brought.tensors), sorted(own.keys() - brought.tensors.keys()), brought.kept, brought.said)


def _described(content: dict[str, Any] | Pretrained, model: DenseModel) -> Mapping[str, Any] | None:
    """The config of the model that weights are of; None of a backbone alone."""
    config = content.model if isinstance(content, Pretrained) else content["config"]
    if not config or not isinstance(config.get("head"), Mapping):
        return None
    given = config.get("class_names")
    names = tuple(map(str, given)) if isinstance(given, (list, tuple)) else ()
    # Other projects' weights without names were given numbers here; those say nothing of single classes.
    numbered = isinstance(content, Pretrained) and content.source != "mnv2dense" and names == _numbers(len(names))
    return {**config, "class_names": () if numbered and names != model.class_names else names}


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(label) for label in range(count))


def _class_of(kind: type) -> str:
    return f"mnv2dense.backbones.{kind.__name__}"


def _check_kind(file: Path, theirs: Mapping[str, Any], model: DenseModel) -> None:
    """Of two backbones of ours a few tensors have the same names and shapes, by chance."""
    choices = {_class_of(kind): choice_of(kind) for kind in BACKBONES}
    target, own = (address_now(str(config.get("_target_"))) for config in (theirs, model.config["backbone"]))
    if target != own and {target, own} <= choices.keys():
        theirs_called, ours_called = (name.rpartition(".")[2] for name in (target, own))
        raise CheckpointError(
            f"{file} holds weights of a {theirs_called}, and this model's backbone is a {ours_called}; start from it "
            f"with backbone={choices[target]}"
        )


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
