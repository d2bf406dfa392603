"""What a head's raw predictions hold, whatever their type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import SimpleNamespace
from typing import Any

from torch import Tensor


def raw_tensors(raw: Any) -> Iterator[Tensor]:  # noqa: ANN401 - each head has its own raw type
    """The tensors of raw predictions, in order: of tuples, lists, mappings and dataclasses, also within each other."""
    if isinstance(raw, Tensor):
        yield raw
    elif isinstance(raw, Mapping):
        for value in raw.values():
            yield from raw_tensors(value)
    elif isinstance(raw, (list, tuple)):
        for value in raw:
            yield from raw_tensors(value)
    elif is_dataclass(raw):
        for field in fields(raw):
            yield from raw_tensors(getattr(raw, field.name))
    elif isinstance(raw, SimpleNamespace):
        yield from raw_tensors(vars(raw))
