"""``recipe=auto``: what the command line, presets and experiments leave open is chosen by the data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mnv2dense.data.rare_classes import repeats_of
from mnv2dense.protocols import Dataset
from mnv2dense.reporting.run_config import trained_config
from mnv2dense.training.recipe import Choice, Facts, object_sides, recipe_for

# Who chooses one of these groups has decided all of its options; who chooses another head, say, has not.
_WHOLE = ("optimizer", "schedule", "augment")

# Of an optimiser of another kind the rate is another one.
_ADAMW = "torch.optim.AdamW"

_ABSENT = object()


def fit_config(config: DictConfig, train: Dataset) -> list[str]:
    """Set what nobody has decided to what fits the data.

    What was typed stays, and so does everything where a preset or an experiment says how to train. A run that is
    resumed keeps what was chosen when it began.

    Args:
        config: of tools/train.py; changed.
        train: to learn from.

    Returns:
        What was chosen and why, in lines for the log; none where nothing was.

    Raises:
        ValueError: ``data.repeat_threshold`` is no share, or the data does not tell what is rare.
    """
    if config.recipe is None or _says_how_to_train():
        return []
    typed = {word.partition("=")[0].lstrip("+~") for word in HydraConfig.get().overrides.task}
    before = trained_config(config.resume) if config.resume else None
    facts = _facts(config, train, epochs=config.trainer.max_epochs if "trainer.max_epochs" in typed else None)
    made = [choice for choice in recipe_for(facts) if _is_open(choice, config, typed)]
    if before is not None:
        made = [
            Choice(each.option, value, "") for each in made if (value := _value(before, each.option)) is not _ABSENT
        ]
    for choice in made:
        OmegaConf.update(config, choice.option, choice.value, merge=False)
    if not made:
        return []
    beginning = f"for {facts.images:,} images in batches of {facts.batch}" if before is None else "as its run began"
    words = [_word(choice) for choice in made]
    wide = max(map(len, words))
    return [
        f"recipe=auto: {beginning}; type any of these to change it, or recipe=null to leave all as in conf/:",
        *(f"  {word:{wide}}  {choice.why}".rstrip() for word, choice in zip(words, made, strict=True)),
    ]


def _says_how_to_train() -> bool:
    """Whether the config has an experiment or a preset; the name of a preset may be one that there is not."""
    chosen = HydraConfig.get().runtime.choices
    presets = GlobalHydra.instance().config_loader().get_group_options("preset")
    return bool(chosen.get("experiment")) or chosen.get("preset") in presets


def _facts(config: DictConfig, train: Dataset, *, epochs: int | None) -> Facts:
    threshold = config.data.get("repeat_threshold")
    images = len(train) if threshold is None else round(float(repeats_of(train, threshold).sum()))
    processes = _devices(config.trainer) * int(config.trainer.num_nodes)
    return Facts(
        task=config.task,
        images=images,
        batch=config.data.batch_size * config.trainer.accumulate_grad_batches * processes,
        # A whole model to begin with has a head that knows something, too.
        pretrained=bool(config.backbone.get("weights")) and not config.init_from,
        epochs=epochs,
        object_sides=object_sides(train),
    )


def _devices(trainer: DictConfig) -> int:
    """How many the trainer will take, as far as its options say."""
    devices = trainer.devices
    if isinstance(devices, int) and devices > 0:
        return devices
    if OmegaConf.is_list(devices):
        return max(1, len(devices))
    there = torch.cuda.device_count() if trainer.accelerator in ("auto", "gpu", "cuda") else 0
    return max(1, there)


def _is_open(choice: Choice, config: DictConfig, typed: Collection[str]) -> bool:
    """Whether the config has the option, and nobody has decided it."""
    group, _, rest = choice.option.partition(".")
    parent = OmegaConf.select(config, choice.option.rpartition(".")[0]) if rest else config
    if not isinstance(parent, DictConfig) or choice.option.rpartition(".")[2] not in parent:
        return False
    if choice.option == "optimizer.lr" and config.optimizer.get("_target_") != _ADAMW:
        return False
    return choice.option not in typed and not (group in _WHOLE and group in typed)


def _value(before: Mapping[str, Any], option: str) -> Any:  # noqa: ANN401 - a config's
    """An option of the config of a run."""
    node: Any = before
    for key in option.split("."):
        if not isinstance(node, Mapping) or key not in node:
            return _ABSENT
        node = node[key]
    return node


def _word(choice: Choice) -> str:
    """As it is typed."""
    value = choice.value
    return f"{choice.option}={'[' + ','.join(map(str, value)) + ']' if isinstance(value, list) else value}"
