"""The data of a run in the words of a command, data=voc data.root=VOCdevkit, to be given again with other options."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mnv2dense.cli.words import quoted, word_now, words_for_hydra
from mnv2dense.pretrained.checkpoint_file import find_checkpoint
from mnv2dense.reporting.run_config import trained_config
from mnv2dense.reporting.usage import override

OF_BATCHES = (
    *("batch_size", "num_workers", "max_boxes", "pin_memory", "repeat_threshold", "train_sizes", "views"),
    *("reduced_decode", "cache", "cache_gigabytes"),
)
"""Of how batches are made, in conf/data/_loader.yaml: scores do not go by it, and parts of joint data share it."""


def words_of_data(checkpoint: str, *, config_folder: str) -> list[str]:
    """The words that name the data of the run that a checkpoint belongs to, quoted for a shell.

    Args:
        checkpoint: a run folder, or a file in its folder ``checkpoints``.
        config_folder: where the configs are.

    Returns:
        The choice, and its options where they are not as usual; nothing where that is not known.
    """
    try:
        trained = trained_config(checkpoint)
        data = (trained or {})["data"]
        file = find_checkpoint(checkpoint).parent.parent / "environment.json"
        typed = json.loads(file.read_text(encoding="utf-8"))["command"][2:]
        began = _train_config(config_folder, [word_now(word) for word in typed])
        choice = began.hydra.runtime.choices["data"]
        chosen = _train_config(config_folder, [f"task={began.task}", f"data={choice}"]).data
        usual: Any = OmegaConf.to_container(chosen, resolve=False)
    except (OSError, ValueError, KeyError, TypeError, HydraException, OmegaConfBaseException, yaml.YAMLError):
        return []
    options = [_word(f"data.{key}", data[key]) for key in usual if key in data and _is_other(key, data[key], usual)]
    parts = data.get("parts") or {}
    options += [shlex.quote(f"data.parts.{name}=[{','.join(map(_as_typed, words))}]") for name, words in parts.items()]
    return [f"data={choice}", *filter(None, options)]


def _train_config(config_folder: str, words: Sequence[str]) -> DictConfig:
    GlobalHydra.instance().clear()
    options = [word for word in words if "=" in word and not word.startswith("-")]
    with initialize_config_dir(config_folder, version_base="1.3"):
        return compose("train", overrides=words_for_hydra(options, command="train"), return_hydra_config=True)


def _is_other(key: str, value: object, usual: Any) -> bool:  # noqa: ANN401 - a config's
    return key not in OF_BATCHES and not isinstance(usual[key], dict) and value != usual[key]


def _as_typed(word: object) -> str:
    """Of a list of words: in quotes where it has a comma outside of brackets."""
    text = str(word)
    return f'"{text}"' if "," in re.sub(r"\[[^\]]*\]", "", text) else text


def _word(key: str, value: object) -> str:
    """``key=value`` for a shell; nothing of a value that no command line would have."""
    if isinstance(value, str):
        return override(key, value)
    if isinstance(value, list):
        names = [quoted(each) for each in value if isinstance(each, str)]
        return shlex.quote(f"{key}=[{','.join(names)}]") if len(names) == len(value) else ""
    return f"{key}={json.dumps(value)}" if value is None or isinstance(value, bool | int | float) else ""
