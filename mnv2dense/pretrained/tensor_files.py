"""Files of tensors, read without running anything they may contain."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # suffixes are wanted before torch is loaded
    from torch import Tensor

from mnv2dense.utils.torch_files import TorchFileError, load_plain

TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".tar")
"""Of files that torch.save wrote, in any case of letters; ours end in .ckpt, and may end so too."""

KERAS_SUFFIXES = (".h5", ".hdf5", ".keras")

WEIGHT_SUFFIXES = (".ckpt", ".safetensors", *TORCH_SUFFIXES, *KERAS_SUFFIXES)
"""Of all files of weights that are read here."""


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file.

    Raises:
        ValueError: damaged or cut short.
    """
    with _open_safetensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict


def read_metadata(path: Path) -> dict[str, str]:
    """The texts that a .safetensors file carries beside its tensors.

    Raises:
        ValueError: damaged or cut short.
    """
    with _open_safetensors(path) as file:
        return dict(file.metadata() or {})


@contextmanager
def _open_safetensors(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read ({error}); it is damaged or cut short: copy it again.") from error


def read_torch_file(path: Path) -> dict[str, Any]:
    """The dict in a file that torch.save wrote: tensors and plain values, never code.

    Raises:
        ValueError: damaged, no such file of torch's, or holding objects that loading would run.
    """
    try:
        content = load_plain(path)
    except (TorchFileError, OSError) as error:
        raise ValueError(
            f"{path} is refused: it is damaged, or holds objects that loading would run ({error}). "
            "Save the model's state_dict() alone."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a dict of tensors: save a state_dict().")
    return content


# Where training scripts put the model beside its optimiser.
_NESTS = ("state_dict", "model", "model_state_dict")
# What torch.nn.DataParallel and DistributedDataParallel put before every name.
_WRAPPER = "module."


def state_dict_in(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The tensors of a model in what a training script saved, without its wrapper's prefix.

    Raises:
        ValueError: no tensors in it.
    """
    from torch import Tensor

    for key in _NESTS:
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(
            f"{path} holds no tensors, only {', '.join(map(str, list(content)[:5])) or 'an empty dict'}; save the "
            f"model's state_dict(), alone or as one of {', '.join(_NESTS)}."
        )
    if all(name.startswith(_WRAPPER) for name in tensors):
        return {name.removeprefix(_WRAPPER): tensor for name, tensor in tensors.items()}
    return tensors


def read_json(path: Path) -> dict[str, Any]:
    """What a .json file says; nothing where there is none.

    Raises:
        ValueError: not JSON, or not an object.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path}: its values are nested too deep to be meant; copy the folder again.") from error
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); copy the folder again.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not an object of entries; copy the folder again.")
    return content
