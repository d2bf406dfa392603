"""A pytest plugin: what Hydra reads and composes of config files that stay as they are is made once in a process.

Hundreds of tests give a command that is refused, and for each of them Hydra composes up to four times.
"""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra._internal import config_loader_impl, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import DefaultsList, Overrides
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf

_parsed: dict[tuple[object, ...], DictConfig | ListConfig] = {}
_listed: dict[tuple[object, ...], DefaultsList] = {}
_composed: dict[tuple[object, ...], DictConfig] = {}

# Classes of sources cannot be changed instead: looking for plugins, Hydra executes their modules anew.
_parse = OmegaConf.load
_list = defaults_list.create_defaults_list
_compose = ConfigLoaderImpl._compose_config_from_defaults_list


def load(file: Any) -> DictConfig | ListConfig:  # noqa: ANN401 - a path or an open file
    """A file that stays as it is is parsed once."""
    path = Path(getattr(file, "name", file))
    if not path.is_file():
        return _parse(file)
    state = path.stat()
    key = (os.path.realpath(path), state.st_ino, state.st_ctime_ns, state.st_mtime_ns, state.st_size)
    if key not in _parsed:
        _parsed[key] = _parse(file)
    return copy.deepcopy(_parsed[key])  # Hydra takes out what it has read


def create_defaults_list(repo: Any, config_name: str | None, overrides_list: list[Override], **options: bool) -> Any:  # noqa: ANN401 - Hydra's
    """The same choices of groups lead to the same files."""
    overrides = Overrides(repo, overrides_list)
    values = {id(override) for override in overrides.config_overrides}
    groups = (override.input_line for override in overrides_list if id(override) not in values)
    key = (_sources(repo), config_name, *groups, *sorted(options.items()))
    if key not in _listed:
        _listed[key] = _list(repo, config_name, overrides_list, **options)
    return replace(_listed[key], config_overrides=overrides.config_overrides)


def compose_from_list(loader: ConfigLoaderImpl, defaults: list[ResultDefault], repo: Any) -> DictConfig:  # noqa: ANN401 - Hydra's
    """The same files are merged once; the values of the command line come later."""
    key = (_sources(repo), *((each.config_path, each.package, each.parent, each.primary) for each in defaults))
    if key not in _composed:
        _composed[key] = _compose(loader, defaults, repo)
    return copy.deepcopy(_composed[key])


def _sources(repo: Any) -> tuple[object, ...]:  # noqa: ANN401 - Hydra's
    """Where configs come from, and as of when."""
    store = ConfigStore.instance()
    found: list[object] = [*store.repo, *store.list("hydra/sweeper")]
    for source in repo.get_sources():
        found.append((source.provider, source.scheme(), source.path))
        for folder, _, names in os.walk(source.path) if source.scheme() == "file" else ():
            for name in names:
                state = Path(folder, name).stat()
                found.append((folder, name, state.st_ino, state.st_ctime_ns, state.st_mtime_ns, state.st_size))
    return tuple(found)


_OURS: tuple[tuple[Any, str, Any, Any], ...] = (
    (OmegaConf, "load", staticmethod(load), staticmethod(_parse)),
    (config_loader_impl, "create_defaults_list", create_defaults_list, _list),
    (ConfigLoaderImpl, "_compose_config_from_defaults_list", compose_from_list, _compose),
)


def pytest_configure() -> None:
    for place, name, ours, _ in _OURS:
        setattr(place, name, ours)


def pytest_unconfigure() -> None:
    for place, name, _, theirs in _OURS:
        setattr(place, name, theirs)
