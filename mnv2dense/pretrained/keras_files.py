"""Files that Keras writes, HDF5 alone or in a zip archive, read without Keras and without running what they hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NamedTuple, cast
from zipfile import ZipFile

import torch
from torch import Tensor

# A .keras file's first bytes, its parts, and the most bytes that either may unpack to: a MobileNetV2 of alpha 1.4 and
# its optimiser's state need 80 MB, its config 0.2 MB.
_ZIP = b"PK\x03\x04"
_WEIGHTS_MEMBER, _WEIGHTS_LIMIT = "model.weights.h5", 1 << 29
_CONFIG_MEMBER, _CONFIG_LIMIT = "config.json", 1 << 24

# HDF5 declares shapes apart from the bytes they need: a file of a few KB can ask for any amount of memory.
_VALUES_LIMIT = _WEIGHTS_LIMIT // 4


class UnfitFileError(ValueError):
    """What is wrong with a file that can be read."""


class KerasFile(NamedTuple):
    """An open file.

    Attributes:
        variables: by their path, as h5py's datasets; see :func:`read_variable`.
        config: the model's, as JSON gives it; empty where the file has only weights.
    """

    variables: dict[str, Any]
    config: dict[str, Any]


@contextmanager
def open_keras_file(path: Path) -> Iterator[KerasFile]:
    """Open a .h5, .weights.h5 or .keras file; whatever fails while it is open is said to be the file's fault.

    No other file is opened on its behalf, and no more memory taken than a MobileNetV2 can need.

    Raises:
        FileNotFoundError: no such file.
        ImportError: h5py is not installed.
        ValueError: damaged or cut short, neither HDF5 nor a .keras archive, too large, or :class:`UnfitFileError`
            was raised while it was open.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError('Keras files are read by h5py: pip install "mnv2dense[keras]"') from error
    with path.open("rb") as file:
        try:
            weights, config = _parts(file)
            with h5py.File(weights, "r") as content:
                variables = _variables(content, h5py)
                yield KerasFile(variables, json.loads(config or content.attrs.get("model_config") or "{}"))
        except UnfitFileError as error:
            raise ValueError(f"{path}: {error}") from error
        except Exception as error:  # h5py and zipfile answer damaged bytes with whatever they fall over
            reason = str(error) or type(error).__name__
            raise ValueError(f"{path} cannot be read ({reason}); it is damaged or cut short: copy it again.") from error


def read_variable(variable: Any) -> Tensor:  # noqa: ANN401 - h5py has no types
    """The values of one of :attr:`KerasFile.variables`, as float32.

    Raises:
        UnfitFileError: they lie in another file, or are not floating point.
    """
    if variable.is_virtual or variable.external:
        raise UnfitFileError(f"{variable.name!r} keeps its values in another file, which is not opened: write it anew.")
    if variable.dtype.kind != "f":
        raise UnfitFileError(
            f"{variable.name!r} holds {variable.dtype}, not floating point: save the model in float32."
        )
    return torch.from_numpy(variable[()].astype("float32"))


def _parts(file: IO[bytes]) -> tuple[IO[bytes], str]:
    """The HDF5 and, of an archive, the config."""
    if is_archive := file.read(len(_ZIP)) == _ZIP:
        with ZipFile(file) as archive:
            weights = BytesIO(_member(archive, _WEIGHTS_MEMBER, _WEIGHTS_LIMIT))
            config = _member(archive, _CONFIG_MEMBER, _CONFIG_LIMIT).decode()
    file.seek(0)
    return (weights, config) if is_archive else (file, "")


def _member(archive: ZipFile, name: str, limit: int) -> bytes:
    if name not in archive.namelist():
        raise UnfitFileError(f"a zip archive without {name!r}, which every .keras file has.")
    declared = archive.getinfo(name).file_size  # zipfile unpacks no more than that
    if declared > limit:
        raise UnfitFileError(f"its {name} would be {declared:,} bytes, more than the {limit:,} a MobileNetV2 can need.")
    return archive.read(name)


def _variables(content: Any, h5py: ModuleType) -> dict[str, Any]:  # noqa: ANN401
    variables: dict[str, Any] = {}

    def keep(path: str, entry: object) -> None:
        if isinstance(entry, h5py.Dataset):
            variables[path] = entry

    # Follows neither soft nor external links, nor any group twice: it stays inside the file, and ends.
    content.visititems(keep)
    declared = sum(cast("int", variable.size or 0) for variable in variables.values())
    if declared > _VALUES_LIMIT:
        raise UnfitFileError(
            f"it declares {declared:,} values, more than the {_VALUES_LIMIT:,} a MobileNetV2 can need."
        )
    return variables
