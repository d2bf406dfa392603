"""What ``--help`` says: the groups and options of a command, in the words of the comments in its YAML."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from mnv2dense.cli.parts import leaves

# Their task says which data is meant; the model, loss and metric that come with it are not theirs.
_OF_DATA = ("convert", "shard")

_AFTERWORD = """
More: --cfg job prints the whole config that the words give; --config-dir FOLDER adds configs of your own; --multirun
makes a run for each of several values, as in seed=0,1; --version; --hydra-help.
"""


def help_text(name: str, *, config_folder: str, words: Sequence[str]) -> str:
    """Groups with their choices, and options with their values and what they mean, as these words choose them.

    Args:
        name: of the command, "train".
        config_folder: where the configs are.
        words: of the command line, without flags.

    Raises:
        HydraException: a word that names no option or choice.
    """
    folder = Path(config_folder)
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_folder, version_base="1.3"):
        config = compose(name, overrides=list(words), return_hydra_config=True)
        loader = GlobalHydra.instance().config_loader()
        choices = {
            group: choice
            for group, choice in config.hydra.runtime.choices.items()
            if not group.startswith("hydra/") and (folder / group).is_dir()
        }
        offered = {
            group: [other for other in loader.get_group_options(group) if not other.startswith("_")]
            for group in choices
        }
    if name in _OF_DATA:
        choices = {group: choice for group, choice in choices.items() if group in ("task", "data")}
        own = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
        config = OmegaConf.masked_copy(config, [str(key) for key in config if key in ("task", "data") or key in own])
    comments = dict(_comments(folder, folder / f"{name}.yaml", ""))
    for group, choice in choices.items():
        comments |= dict(_comments(folder, folder / group / f"{choice}.yaml", group))
    lines = [*_opening(folder / f"{name}.yaml"), ""]
    if choices:
        lines += ["Groups, as they are chosen, and what else there is:"]
        lines += [line for group in sorted(choices) for line in _group(group, choices[group], offered[group])]
        lines += [""]
    lines += ["Options, as they are set:"]
    lines += [line for key, value in _options(config) for line in _option(key, value, comments.get(key))]
    return "\n".join([*lines, *_AFTERWORD.rstrip().splitlines()])


def _opening(path: Path) -> list[str]:
    """The comment at the head of a file: a command to begin with, and what it does."""
    opening = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        opening.append(line.removeprefix("#").strip())
    return opening


def _group(group: str, choice: str | None, offered: Sequence[str]) -> Iterator[str]:
    chosen = f"  {group}={'null' if choice is None else choice}"
    yield from _wrapped(", ".join(offered), first=f"{chosen:<32} ", rest=" " * 33)


def _options(config: DictConfig) -> Iterator[tuple[str, str]]:
    """Key and value of what can be set; what follows from others, or names a class, is left out."""
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    for key, value in leaves({name: value for name, value in plain.items() if name != "hydra"}):
        if not key.endswith("_target_") and not (isinstance(value, str) and "${" in value):
            yield key, _as_typed(value)


def _as_typed(value: object) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_as_typed, value))}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def _option(key: str, value: str, comment: str | None) -> Iterator[str]:
    yield f"  {key}=... (needed)" if value == "???" else f"  {key}={value}"
    if comment:
        yield from _wrapped(comment, first=" " * 6, rest=" " * 6)


def _wrapped(text: str, *, first: str, rest: str) -> list[str]:
    width = max(60, min(100, shutil.get_terminal_size().columns))
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    ) or [first.rstrip()]


def _comments(folder: Path, path: Path, group: str, package: str | None = None) -> Iterator[tuple[str, str]]:
    """Key -> the comment above it, of a file and those that it is based on; later ones count."""
    if not path.is_file():  # of a folder of the user's own, or nothing chosen
        return
    text = path.read_text(encoding="utf-8")
    if package is None:
        package = "" if "# @package _global_" in text else group.replace("/", ".")
    lines = text.splitlines()
    root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    if not isinstance(root, yaml.MappingNode):
        return
    for key, value in root.value:
        if key.value == "defaults":
            for entry in value.value:
                if isinstance(entry, yaml.ScalarNode) and entry.value != "_self_":
                    file, _, elsewhere = entry.value.partition("@")
                    yield from _comments(folder, path.parent / f"{file}.yaml", group, elsewhere or package)
    yield from _above(root, lines, f"{package}." if package else "")


def _above(node: yaml.MappingNode, lines: Sequence[str], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in node.value:
        said: list[str] = []
        for line in reversed(lines[: key.start_mark.line]):
            if not line.strip().startswith("#") or "@package" in line:
                break
            said.insert(0, line.strip().removeprefix("#").strip())
        if said:
            yield f"{prefix}{key.value}", " ".join(said)
        if isinstance(value, yaml.MappingNode):
            yield from _above(value, lines, f"{prefix}{key.value}.")
