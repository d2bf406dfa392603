"""A pytest plugin: a config file that stays as it is is parsed once, not each time that a command composes."""

from __future__ import annotations

import copy
import os
from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.plugins.config_source import ConfigResult

_parsed: dict[tuple[str, ...], ConfigResult] = {}
_parse = FileConfigSource.load_config


def load_config(source: FileConfigSource, config_path: str) -> ConfigResult:
    """In the place of Hydra's own, which takes a third of the time of composing."""
    path = os.path.realpath(Path(source.path, source._normalize_file_name(config_path)))
    if not Path(path).is_file():
        return _parse(source, config_path)
    state = Path(path).stat()
    key = (source.provider, source.path, path, str(state.st_mtime_ns), str(state.st_size))
    if key not in _parsed:
        _parsed[key] = _parse(source, config_path)
    return copy.deepcopy(_parsed[key])  # Hydra takes out what it has read


def pytest_configure() -> None:
    FileConfigSource.load_config = load_config  # type: ignore[method-assign]


def pytest_unconfigure() -> None:
    FileConfigSource.load_config = _parse  # type: ignore[method-assign]
