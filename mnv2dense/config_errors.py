"""A wrong option on the command line, explained in one short message with the fix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException


def explain(error: Exception, *, config_folder: str, config_name: str, arguments: Sequence[str]) -> str | None:
    """What to tell the user about an error of composing or reading the config; None if it is none of those.

    Args:
        error: what Hydra or OmegaConf raised.
        config_folder: where the configs are.
        config_name: the command's own config, "train".
        arguments: the command line, without the program's name.
    """
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override!r} cannot be read: options have the form key=value, as in trainer.max_epochs=50. "
            "Quote values that hold spaces, brackets or commas: 'model.size=[320,320]'."
        )
    if isinstance(error, MissingConfigException):
        return _no_such_choice(error)
    if isinstance(error, MissingMandatoryValue):
        key = str(error.full_key)
        return f"{key} is needed: add {key}=... to the command line."
    if isinstance(error, ConfigCompositionException) and (found := re.search(r"Could not override '([^']+)'", str(error))):
        return _no_such_key(found[1].split("@")[0], config_folder, config_name, arguments)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return " ".join(str(error).split())
    return None


def _no_such_choice(error: MissingConfigException) -> str:
    group, _, choice = (error.missing_cfg_file or "").rpartition("/")
    choices = [option for option in error.options or [] if not option.startswith("_")]
    if not group:
        return " ".join(str(error).split())
    if not choices:
        return f"{group}={choice}: there is no such choice."
    return f"{group}={choice}: there is no such choice{_did_you_mean(choice, choices, group + '=')} Choose from {', '.join(choices)}."


def _no_such_key(key: str, config_folder: str, config_name: str, arguments: Sequence[str]) -> str:
    """The nearest keys of the config that the other arguments give."""
    others = [a for a in arguments if not a.startswith("-") and not a.startswith((f"{key}=", f"{key}@"))]
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_folder, version_base="1.3"):
        try:
            config = compose(config_name, overrides=others)
        except HydraException:  # the others are wrong too; one message at a time
            config = compose(config_name, overrides=[])
    groups = [path.name for path in Path(config_folder).iterdir() if path.is_dir()]
    known = [*_keys(config), *groups]
    parent = key.rpartition(".")[0]
    beside = [name.removeprefix(f"{parent}.") for name in known if parent and name.rpartition(".")[0] == parent]
    listed = f" {parent} has {', '.join(sorted(set(beside)))}." if beside else ""
    return f"{key}: there is no such option{_did_you_mean(key, known)}{listed}"


def _did_you_mean(word: str, choices: Sequence[str], prefix: str = "") -> str:
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    return f"; did you mean {prefix}{close[0]}?" if close else "."


def _keys(config: DictConfig) -> Iterator[str]:
    def walk(node: Mapping[str, object], prefix: str) -> Iterator[str]:
        for key, value in node.items():
            yield f"{prefix}{key}"
            if isinstance(value, Mapping):
                yield from walk(value, f"{prefix}{key}.")

    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    yield from walk({str(key): value for key, value in plain.items()}, "")
