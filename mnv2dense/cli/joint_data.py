"""Data sets for several heads, each named by the words of a command line: data.parts.boxes=[coco,root=cars]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from mnv2dense.cli.run_data import OF_BATCHES
from mnv2dense.cli.words import words_for_hydra


def spell_out_parts(config: DictConfig, *, tasks: Mapping[str, str] | None = None) -> None:
    """Put what the words of each part compose into ``data.train`` and ``data.val``.

    Args:
        config: of a command; changed where its data is ``data=joint``.
        tasks: name of the head -> its task, of a model that is there; None goes by the config's heads.

    Raises:
        ValueError: no part, one for no head, or words that name no data.
    """
    data = config.get("data")
    parts = None if data is None else data.get("parts")
    if not isinstance(parts, DictConfig) or "parts" not in (data.get("train") or {}):
        return
    if tasks is None:
        heads: Any = OmegaConf.select(config, "head.parts") or {}
        tasks = {str(name): _task_of(head) for name, head in heads.items()}
    if not tasks or set(parts) != set(tasks):
        named = f"names {', '.join(parts)}" if parts else "is empty"
        raise ValueError(
            f"data.parts {named}, and the heads are {', '.join(tasks) or 'none with a name (choose task=joint)'}: give "
            f"each its data, as in data.parts.{next(iter(tasks), 'boxes')}=[coco,root=cars]."
        )
    for name, words in parts.items():
        own = _composed(str(name), words, task=tasks[str(name)])
        with open_dict(config):
            for split in ("train", "val"):
                config.data[split].parts[name] = own[split]


def _composed(name: str, words: object, *, task: str) -> dict[str, Any]:
    """The data of a part by itself, with nothing left to be looked up."""
    if not isinstance(words, ListConfig) or not words or not all(isinstance(word, str) for word in words):
        raise ValueError(f"data.parts.{name}={words}: a choice of conf/data and its options, as in [coco,root=cars].")
    choice, *options = words
    if strange := [option for option in options if "=" not in option]:
        raise ValueError(f"data.parts.{name}: {strange[0]!r} is no option; write them as name=value, as in root=cars.")
    if taken := [option for option in options if option.partition("=")[0] in OF_BATCHES]:
        raise ValueError(
            f"data.parts.{name}: {taken[0]!r} is of batches, which have images of all parts: data.{taken[0]}."
        )
    typed = [f"task={task}", "preset=none", f"data={choice}", *(f"data.{option}" for option in options)]
    words = words_for_hydra(typed, command="train")
    try:
        composed = GlobalHydra.instance().config_loader().load_configuration("train", words, run_mode=RunMode.RUN)
        data: Any = OmegaConf.to_container(composed.data, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ValueError(
            f"data.parts.{name}: {choice} lacks {error.full_key}, as in {error.full_key}=... there."
        ) from error
    except (HydraException, OmegaConfBaseException) as error:
        said = str(error).splitlines()[0]
        raise ValueError(
            f"data.parts.{name}: {said} Its words are those of data={choice} without their data."
        ) from error
    return {"train": data["train"], "val": data["val"]}


def _task_of(head: DictConfig) -> str:
    from hydra.utils import get_object

    return str(getattr(get_object(str(head.get("_target_"))), "task", "detection"))
