"""Columns of numbers in one file, .safetensors, mapped into memory: processes of a machine share its pages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mnv2dense.data.shards.manifest import ShardsError
from mnv2dense.utils.mapped import as_plain

Column = npt.NDArray[Any]

# The names of the types that are written.
_TYPES = {"BOOL": np.bool_, "U8": np.uint8, "U32": np.uint32, "I64": np.int64, "F32": np.float32, "F64": np.float64}

# safetensors' own limit.
_LONGEST_HEADER = 100_000_000


def columns_bytes(columns: Mapping[str, Column]) -> bytes:
    """The contents of the file."""
    from safetensors.numpy import save

    content: bytes = save({name: np.ascontiguousarray(column) for name, column in columns.items()})
    return content


def map_columns(path: Path) -> dict[str, Column]:
    """The columns of a file, read-only; of what is not looked at nothing is read.

    safetensors' own reader for numpy makes copies, which every process of a run would hold.

    Raises:
        ShardsError: the file is damaged.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= min(_LONGEST_HEADER, size):
                raise ValueError("its header is too long")
            header = json.loads(file.read(length))
        return {
            name: _mapped(path, 8 + length, size, tensor) for name, tensor in header.items() if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ShardsError(f"{path}: damaged columns ({error}). Copy the file again.") from error


def _mapped(path: Path, begin: int, size: int, tensor: Mapping[str, Any]) -> Column:
    kind, shape = np.dtype(_TYPES[tensor["dtype"]]), tuple(int(side) for side in tensor["shape"])
    start, end = tensor["data_offsets"]
    count = int(np.prod(shape, dtype=np.int64))
    if min(shape, default=0) < 0 or end - start != count * kind.itemsize or not 0 <= start <= end <= size - begin:
        raise ValueError("a column of another size than it says")
    if not count:  # nothing can be mapped of no bytes
        return np.empty(shape, kind)
    return as_plain(np.memmap(path, kind, "r", begin + start, shape))
