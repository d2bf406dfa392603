"""Indices of results: whole numbers, slices, masks and lists of numbers, checked before torch sees them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    Rows = slice | Tensor | npt.NDArray[np.bool_ | np.integer[Any]] | Sequence[bool] | Sequence[int]
    """Some of a result: a slice, a bool mask [N], or whole numbers [n]."""


def row_at(index: SupportsIndex, count: int) -> int:
    """A whole number, negative ones from the end, if it is that of one of ``count`` rows.

    Raises:
        IndexError: it is not, or a name.
    """
    if isinstance(index, str):
        raise IndexError(_no_name(index, "a whole number"))
    row = operator.index(index)
    if not -count <= row < count:
        raise IndexError(f"index {row}: there are {count} here.")
    return row


def rows_at(index: int | Rows, count: int) -> int | slice | Tensor:
    """An index of any kind as torch takes it, if it is one of ``count`` rows.

    Raises:
        IndexError: it is not, or of another kind.
    """
    import torch
    from torch import Tensor

    if isinstance(index, str):
        raise IndexError(_no_name(index, f"a whole number, a slice, a mask [{count}] of bool or whole numbers [n]"))
    if isinstance(index, slice):
        # Torch knows no step backwards.
        return index if (index.step or 1) > 0 else torch.tensor(range(*index.indices(count)), dtype=torch.long)
    if isinstance(index, SupportsIndex) and not isinstance(index, bool | Tensor) and getattr(index, "ndim", 0) == 0:
        return row_at(index, count)
    rows = torch.as_tensor(index)
    if not isinstance(index, Tensor) and not rows.numel() and rows.is_floating_point():  # an empty list
        rows = rows.long()
    if rows.ndim != 1 or rows.is_floating_point():
        raise IndexError(
            f"an index of {rows.dtype} {list(rows.shape)}: give a whole number, a slice, a mask [{count}] of bool, or "
            "whole numbers [n]."
        )
    if rows.dtype == torch.bool:
        if len(rows) != count:
            raise IndexError(f"a mask of {len(rows)}: there are {count} here, and each needs its own true or false.")
        return rows
    # On a GPU torch would end the process over a number that is not there.
    if len(rows) and not -count <= int(rows.min()) <= int(rows.max()) < count:
        raise IndexError(f"indices {int(rows.min())} to {int(rows.max())}: there are {count} here.")
    return rows.long()


def _no_name(index: str, kinds: str) -> str:
    return (
        f"index {index!r}: a result takes {kinds}; those of a class are "
        f"[one for one in found if one.name == {index!r}]."
    )
