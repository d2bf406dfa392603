"""Which project's weights are these? One door for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from mnv2dense.backbones import BACKBONES
from mnv2dense.pretrained import huggingface, own, timm, torchvision
from mnv2dense.pretrained.checkpoint_file import ENTRY, is_own_checkpoint, newest_run_in
from mnv2dense.pretrained.contents import KINDS, Pretrained
from mnv2dense.pretrained.own_folder import is_own_folder
from mnv2dense.pretrained.tensor_files import (
    KERAS_SUFFIXES,
    TORCH_SUFFIXES,
    read_json,
    read_metadata,
    read_safetensors,
    read_torch_file,
    state_dict_in,
)

# What the names of transformers and timm for our backbones begin with, but for underscores.
_FAMILIES = tuple(kind.__name__.lower() for kind in BACKBONES)

# The names that transformers and timm give their file in a folder, the safer one first.
_FILES_OF_FOLDERS = ("model.safetensors", "pytorch_model.bin")

_ACCEPTED = (
    "Accepted are a run folder or .ckpt file of mnv2dense, a folder of transformers or timm (config.json and "
    "model.safetensors or pytorch_model.bin), a .safetensors file, a .pth, .pt, .bin or .tar file of torch with a "
    f"state_dict, and .h5 or .keras of Keras; each a {KINDS}."
)


def read_pretrained(weights: str | Path) -> Pretrained:
    """Read weights of any project that is known here.

    Args:
        weights: a file or folder: a run folder or .ckpt file of our own; a folder with config.json and
            model.safetensors or pytorch_model.bin, of transformers or timm; a .safetensors file, ours too; a torch
            file (.pth, .pt, .bin, .tar) with a state dict of torchvision, timm or transformers; a Keras file (.h5,
            .weights.h5, .keras). Else a name that :mod:`mnv2dense.pretrained.named` knows and downloads.

    Raises:
        FileNotFoundError: no such file, folder or name, or the folder holds no weights.
        ValueError: damaged, of another architecture, a variant whose layout is not the paper's, or a file whose
            reading would run code.
    """
    from mnv2dense.pretrained import named

    path = Path(weights)
    if isinstance(weights, str):
        path = named.resolve(weights) or path
    if not path.exists():
        raise FileNotFoundError(
            f"weights={str(weights)!r}: no such file or folder (looked at {path.absolute()}), and no name of "
            f"weights that are known here. {_ACCEPTED}"
        )
    if is_own_checkpoint(path):
        return own.read(path)
    if is_own_folder(path):
        return own.read_folder(path)
    return _read_folder(path) if path.is_dir() else _read_file(path)


def is_foreign(path: Path) -> bool:
    """Whether this can only be weights of another project, or our tensors without a checkpoint around them.

    A file of torch's can be either: its content says which.
    """
    if path.is_dir():
        return not is_own_checkpoint(path) and _holds_weights(path)
    return path.is_file() and path.suffix.lower() in (".safetensors", *KERAS_SUFFIXES)


def _holds_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("config.json", *_FILES_OF_FOLDERS))


def _read_folder(folder: Path) -> Pretrained:
    if not _holds_weights(folder):
        run = newest_run_in(folder)
        way_on = _ACCEPTED if run is None else f"The newest run in it is {run}; give that one."
        raise FileNotFoundError(f"{folder} holds no weights that are known here. {way_on}")
    config = read_json(folder / "config.json")
    kind = config.get("model_type") or config.get("architecture") or "mobilenet_v2"
    if not str(kind).replace("_", "").startswith(_FAMILIES):
        raise ValueError(f"{folder / 'config.json'} is of {kind!r}, not of a {KINDS}. {_ACCEPTED}")
    for name in _FILES_OF_FOLDERS:
        if (folder / name).is_file():
            return _read_file(folder / name)
    raise FileNotFoundError(f"{folder} has a config.json, but neither {' nor '.join(_FILES_OF_FOLDERS)}: copy it too.")


def _read_file(path: Path) -> Pretrained:
    suffix = path.suffix.lower()
    if suffix in KERAS_SUFFIXES:
        from mnv2dense.pretrained import keras

        return keras.read_file(path)
    if suffix == ".safetensors":
        return _from_tensors(read_safetensors(path), read_metadata(path), path)
    if suffix in TORCH_SUFFIXES:
        content = read_torch_file(path)
        if ENTRY in content:  # our own checkpoint under another name
            return own.read(path)
        return _from_tensors(state_dict_in(content, path), {}, path)
    raise ValueError(f"{path} is a {suffix or 'file without suffix'}, which is no file of weights. {_ACCEPTED}")


def _from_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path) -> Pretrained:
    if own.recognises(tensors):
        return own.from_tensors(tensors, metadata=metadata, path=path)
    try:
        if torchvision.recognises(tensors):
            return torchvision.from_tensors(tensors)
        if timm.recognises(tensors):
            return timm.from_tensors(tensors, config=read_json(path.with_name("config.json")))
        if huggingface.recognises(tensors):
            return huggingface.from_tensors(
                tensors,
                config=read_json(path.with_name("config.json")),
                preprocessing=read_json(path.with_name("preprocessor_config.json")),
            )
    except (ValueError, TypeError) as error:  # a config's entry can be of any type
        raise ValueError(f"{path}: {error}") from error
    raise ValueError(
        f"{path}: its {len(tensors)} tensors ({', '.join(list(tensors)[:3])}, ...) are named as no {KINDS} that is "
        f"known here. {_ACCEPTED}"
    )
