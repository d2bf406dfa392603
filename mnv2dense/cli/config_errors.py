"""A wrong option on the command line, explained in one short message with the fix."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, MissingMandatoryValue, OmegaConfBaseException

from mnv2dense.cli.run_data import words_of_data
from mnv2dense.reporting.usage import override
from mnv2dense.utils.suggest import did_you_mean


def explain(error: Exception, *, config_folder: str, config_name: str, arguments: Sequence[str]) -> str | None:
    """What to tell the user about an error that the config caused; None if it did not.

    Args:
        error: what Hydra or OmegaConf raised, or a constructor that did not like its options.
        config_folder: where the configs are.
        config_name: the command's own config, "train".
        arguments: the command line, without the program's name.
    """
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override!r} cannot be read: options have the form key=value, as in trainer.max_epochs=50. "
            "A list stands in the shell's quotes, 'model.size=[320,320]'; a text with blanks, brackets or the like has "
            """quotes of its own inside of these, 'data.class_names=["traffic light"]'."""
        )
    if isinstance(error, MissingConfigException):
        return _no_such_choice(error)
    if "Config group override must be a string or a list" in str(error):
        return _no_group(arguments)
    if isinstance(error, MissingMandatoryValue):
        key = str(error.full_key)
        return f"{key} is needed: add {key}=... to the command line."
    if isinstance(error, ConfigCompositionException | ConfigAttributeError):
        said = _group_that_is_not_named(config_folder, config_name, arguments)
        if said is not None:
            return said
    found = re.search(r"^Multiple values for ([^\s.]+)\.", str(error))
    if found is not None and (added := [word for word in arguments if word.startswith(f"+{found[1]}=")]):
        return f"{added[0]}: leave the + out, {found[1]} has a choice already."
    found = re.search(r"Could not override '([^']+)'", str(error))
    if isinstance(error, ConfigCompositionException) and found is not None:
        return _no_such_key(found[1].split("@")[0], config_folder, config_name, arguments)
    cause = error.__cause__ if isinstance(error, InstantiationException) else error
    if (option := _text_for_a_number(config_folder, config_name, arguments)) is not None:
        return option
    if isinstance(cause, TypeError) and (option := _unexpected(str(cause), arguments)) is not None:
        return f"{option}: {cause}"
    return plainly(error)


def plainly(error: Exception) -> str | None:
    """What Hydra, OmegaConf or a constructor said, on one line; None of any other error."""
    cause = error.__cause__ if isinstance(error, InstantiationException) else error
    return " ".join(str(cause or error).split()) if isinstance(error, HydraException | OmegaConfBaseException) else None


def _no_group(arguments: Sequence[str]) -> str:
    """Hydra takes null for a group that is null in the defaults alone."""
    words = [word for word in arguments if word.lower().endswith(("=null", "=")) and "." not in word.partition("=")[0]]
    word = words[0] if words else "a group=null"
    group = word.partition("=")[0]
    none = " To have none, write ~preset." if group == "preset" else ""
    return f"{word}: there is no such choice; name one.{none}"


def _no_such_choice(error: MissingConfigException) -> str:
    group, _, choice = (error.missing_cfg_file or "").rpartition("/")
    choices = [option for option in error.options or [] if not option.startswith("_")]
    if not group:
        return " ".join(str(error).split())
    if group == "hydra/launcher" and choice.startswith("submitit_"):
        return f'{group}={choice} needs Hydra\'s launcher: pip install "mnv2dense[submitit]"'
    if not choices:
        return f"{group}={choice}: there is no such choice."
    meant = did_you_mean(choice, choices, before=f"{group}=")
    return f"{group}={choice}: there is no such choice{meant} Choose from {', '.join(choices)}."


def _group_that_is_not_named(config_folder: str, config_name: str, arguments: Sequence[str]) -> str | None:
    """Of an option of a group that else is the checkpoint's run's own: what to name, with that run's values."""
    given = {argument.partition("=")[0].lstrip("+"): argument for argument in arguments}
    usual = _compose(config_folder, config_name, [])
    key = next((key for key in given if "." in key and _is_unnamed(key, given, usual, config_folder)), None)
    if key is None:
        return None
    group = key.partition(".")[0]
    own = " ".join(_typed(argument) for name, argument in given.items() if name.startswith(f"{group}."))
    asked = f"{_typed(given[key])}: options of {group} need {group}= beside them"
    said = f"{asked}; without it the run's own is taken as it is."
    named = _words_of_run(given, config_folder) if group == "data" else []
    if not named:
        choices = sorted(file.stem for file in (Path(config_folder) / group).glob("[!_]*.yaml"))
        return f"{said} Give {group}=... {own}, of {', '.join(choices)}."
    others = [word for word in named if shlex.split(word)[0].partition("=")[0] not in given]
    known = known_options(config_folder, config_name, [word for words in others for word in shlex.split(words)])
    if key not in known:
        beside = [name for name in known if name.count(".") == 1 and name.startswith(f"{group}.")]
        options = [name for name in beside if not any(other.startswith(f"{name}.") for other in known)]
        meant = did_you_mean(key, options)
        return f"{key}: the run has {named[0]}, which has no such option{meant} It has {', '.join(options)}."
    return f"{said} Give {' '.join([*others, own])}."


def _is_unnamed(key: str, given: Mapping[str, str], usual: DictConfig, config_folder: str) -> bool:
    group = key.partition(".")[0]
    return group not in given and group not in usual and (Path(config_folder) / group).is_dir()


def _words_of_run(given: Mapping[str, str], config_folder: str) -> list[str]:
    if "checkpoint" not in given:
        return []
    return words_of_data(str(_value_of(given["checkpoint"])), config_folder=config_folder)


def _typed(argument: str) -> str:
    """A word in Hydra's grammar, for a shell, with as few quotes as may be."""
    value = _value_of(argument)
    key = argument.partition("=")[0].lstrip("+")
    return override(key, value) if isinstance(value, str) else shlex.quote(argument.lstrip("+"))


def _value_of(argument: str) -> object:
    value: object = OverridesParser.create().parse_override(argument).value()
    return value


def _no_such_key(key: str, config_folder: str, config_name: str, arguments: Sequence[str]) -> str:
    """The nearest keys of the config that the other arguments give."""
    if (placed := next((a for a in arguments if a.startswith(f"{key}@") and "=" in a), None)) is not None:
        place = placed.partition("=")[0].partition("@")[2]
        return f"{placed}: nothing is at {place} that it could replace; +{placed} adds it."
    others = [a for a in arguments if not a.startswith("-") and not a.startswith((f"{key}=", f"{key}@"))]
    known = known_options(config_folder, config_name, others)
    parent = key.rpartition(".")[0]
    beside = [name.removeprefix(f"{parent}.") for name in known if parent and name.rpartition(".")[0] == parent]
    listed = f" {parent} has {', '.join(sorted(set(beside)))}." if beside else ""
    if key in known:  # a group of conf/, and this command has nothing to do with it
        return f"{key}: there is no such option of {config_name}; conf/{key} is for others, as tools/train.py."
    return f"{key}: there is no such option{did_you_mean(key, known)}{listed}"


def known_options(config_folder: str, config_name: str, arguments: Sequence[str]) -> list[str]:
    """Every key of the config that these arguments give, and every group."""
    folders = (path for path in Path(config_folder).iterdir() if path.is_dir())
    groups = [folder.name for folder in folders if not folder.name.startswith("_")]
    return [*_keys(_compose(config_folder, config_name, arguments)), *groups]


def _text_for_a_number(config_folder: str, config_name: str, arguments: Sequence[str]) -> str | None:
    """An argument with text where the configs have a number: no constructor says that well."""
    given = [argument for argument in arguments if re.match(r"[\w.]+=", argument)]
    groups = [argument for argument in given if (Path(config_folder) / argument.partition("=")[0]).is_dir()]
    usual, asked = (_compose(config_folder, config_name, chosen) for chosen in (groups, given))
    for argument in reversed(given):  # where a key is given twice, the last one counts
        key = argument.partition("=")[0]
        default, value = (OmegaConf.select(config, key) for config in (usual, asked))
        if isinstance(value, str) and isinstance(default, int | float) and not isinstance(default, bool):
            return f"{argument}: a number is needed, as in {key}={default}."
    return None


def _unexpected(complaint: str, arguments: Sequence[str]) -> str | None:
    """The argument that added the option which a constructor says it does not take."""
    found = re.search(r"unexpected keyword argument '(\w+)'", complaint)
    if found is None:
        return None
    return next((a for a in arguments if re.match(rf"\+*[\w.]*\.{found[1]}=", a)), None)


def _compose(config_folder: str, config_name: str, arguments: Sequence[str]) -> DictConfig:
    """The config that these arguments give; the default one if they do not compose."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_folder, version_base="1.3"):
        try:
            return compose(config_name, overrides=list(arguments))
        except HydraException:  # one message at a time
            return compose(config_name, overrides=[])


def _keys(config: DictConfig) -> Iterator[str]:
    def walk(node: Mapping[str, object], prefix: str) -> Iterator[str]:
        for key, value in node.items():
            yield f"{prefix}{key}"
            if isinstance(value, Mapping):
                yield from walk(value, f"{prefix}{key}.")

    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    yield from walk({str(key): value for key, value in plain.items()}, "")
