"""The formats of exported files, in one table: for what writes them, what runs them, and what knows only the names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mnv2dense.utils.suggest import did_you_mean_path


class Format(NamedTuple):
    """Files of one runtime.

    Attributes:
        suffix: of the file that the user names, with the dot, in small letters.
        beside: what stands beside it, as ends of names: ".json" follows the suffix, any other takes its place.
        runs_here: whether there is a runtime for it on this system, so a module of :mod:`mnv2dense.runtimes`.
        module: of a format of somebody else's: the module that writes its files and runs them. None where ours do.
    """

    suffix: str
    beside: tuple[str, ...] = ()
    runs_here: bool = True
    module: str | None = None


FORMATS = {
    "onnx": Format(".onnx"),
    "openvino": Format(".xml", beside=(".bin",)),
    "executorch": Format(".pte", beside=(".json",)),
    "litert": Format(".tflite", beside=(".json",)),
    # Of two dots, so that its weights are not those of an OpenVINO file of the same name.
    "ncnn": Format(".ncnn.param", beside=(".ncnn.bin", ".json")),
    "coreml": Format(".mlpackage", runs_here=False),  # on Apple's systems alone
}
"""Name -> format. The name is that of its module in :mod:`mnv2dense.export.formats`, of the one in
:mod:`mnv2dense.runtimes`, and of the extra that installs what both need. Whoever has a format of his own adds it here,
with its ``module`` (docs/contributing.md)."""


def format_of(path: str | Path) -> str | None:
    """The name of the format that a file's suffix, of capital or small letters, tells; None for any other file."""
    file = Path(path).name.lower()
    return next((name for name, known in FORMATS.items() if ends_in(file, known.suffix)), None)


def ends_in(name: str, suffix: str) -> bool:
    """Whether a file's name ends in a format's suffix, and is more than it."""
    return name.endswith(suffix) and name != suffix


def exporter_module(name: str) -> str:
    """Of a format: the module that has ``WRITER`` and ``export``."""
    return FORMATS[name].module or f"mnv2dense.export.formats.{name}"


def runtime_module(name: str) -> str:
    """Of a format: the module that has ``load``."""
    return FORMATS[name].module or f"mnv2dense.runtimes.{name}"


def is_exported(path: str | Path) -> bool:
    """Whether the name is that of an exported file which runs here."""
    name = format_of(path)
    return name is not None and FORMATS[name].runs_here


def no_such_file(path: str | Path) -> str:
    """What to tell whoever gave an exported file that is not there."""
    meant = did_you_mean_path(Path(path), is_exported)
    return f"{path}: no such file (looked at {Path(path).absolute()}).{meant}"


def runnable_suffixes() -> list[str]:
    """Of the files that run here."""
    return [known.suffix for known in FORMATS.values() if known.runs_here]


def companions_of(path: str | Path) -> tuple[Path, ...]:
    """The files that belong beside an exported one: weights, metadata, or none where it is whole by itself."""
    path, name = Path(path), format_of(path)
    if name is None:
        return ()
    stem = path.name[: -len(FORMATS[name].suffix)]
    return tuple(path.with_name((path.name if end == ".json" else stem) + end) for end in FORMATS[name].beside)


def files_of(path: str | Path) -> tuple[Path, ...]:
    """All that an exported model is made of: the file itself first, and those beside it; of a folder each file."""
    path = Path(path)
    if path.is_dir():
        return tuple(sorted(file for file in path.rglob("*") if file.is_file()))
    return (path, *companions_of(path))


def megabytes_of(files: Iterable[Path]) -> float:
    """What files take together, in millions of bytes."""
    return sum(file.stat().st_size for file in files) / 1e6
