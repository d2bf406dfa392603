"""Metadata that stands beside a file, for formats that have no room for it inside."""

from __future__ import annotations

from pathlib import Path

from mnv2dense.runtimes.formats import companions_of
from mnv2dense.runtimes.metadata import Metadata


def read_beside(path: Path) -> Metadata:
    """The metadata of ``model.pte`` from ``model.pte.json``.

    Raises:
        ValueError: there is none, or it is not what the exporter wrote; the message says what to do.
    """
    (beside,) = (each for each in companions_of(path) if each.suffix == ".json")
    try:
        return Metadata.from_json(beside.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{path}: {beside.name} is not beside it, and without it nobody knows its classes; take all its files "
            "along, or export again with tools/export.py."
        ) from None
    except ValueError as error:
        raise ValueError(f"{beside}: {error}; export {path.name} again.") from error
