"""Data sets for several heads, each named by the words of a command line: data.parts.boxes=[coco,root=cars]."""

from __future__ import annotations

from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from mnv2dense.cli.words import words_for_hydra


def spell_out_parts(config: DictConfig) -> None:
    """Put what the words of each part compose into ``data.train`` and ``data.val``.

    Args:
        config: of a command; changed where its data is ``data=joint``.

    Raises:
        ValueError: no part, one for no head, or words that name no data.
    """
    parts = config.data.get("parts")
    if not isinstance(parts, DictConfig) or "parts" not in (config.data.get("train") or {}):
        return
    heads: Any = OmegaConf.select(config, "head.parts") or {}
    if set(parts) != set(heads):
        named = f"names {', '.join(parts)}" if parts else "is empty"
        raise ValueError(
            f"data.parts {named}, and the heads are {', '.join(heads) or 'none with a name (choose task=joint)'}: give "
            f"each its data, as in data.parts.{next(iter(heads), 'boxes')}=[coco,root=cars]."
        )
    for name, words in parts.items():
        own = _composed(str(name), words, task=_task_of(heads[name]))
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
    typed = [f"task={task}", "preset=none", f"data={choice}", *(f"data.{option}" for option in options)]
    words = words_for_hydra(typed, command="train")
    composed = GlobalHydra.instance().config_loader().load_configuration("train", words, run_mode=RunMode.RUN)
    data: Any = OmegaConf.to_container(composed.data, resolve=True)
    return {"train": data["train"], "val": data["val"]}


def _task_of(head: DictConfig) -> str:
    from hydra.utils import get_object

    return str(getattr(get_object(str(head.get("_target_"))), "task", "detection"))
