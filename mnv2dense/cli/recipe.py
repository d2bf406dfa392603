"""``recipe=auto``: what the command line, presets and experiments leave open is chosen by the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from mnv2dense.data.rare_classes import draws_of
from mnv2dense.data.sampler import epoch_draws
from mnv2dense.protocols import Dataset
from mnv2dense.reporting.run_config import trained_config
from mnv2dense.training.recipe import OPTIONS, Choice, Facts, object_sides, recipe_for

# Who chooses one of these groups has decided all of its options, also where they are the usual ones.
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
    if not config.resume:
        facts = _facts(config, train)
        beginning = f"for {facts.images:,} images in batches of {facts.batch}"
        wanted = _for_heads(recipe_for(facts), config)
    elif (before := trained_config(config.resume)) is not None:
        beginning = "as its run began"
        options = _for_heads([Choice(option, None, "") for option in OPTIONS], config)
        values = {each.option: _value(before, each.option) for each in options}
        wanted = [Choice(option, value, "") for option, value in values.items() if value is not _ABSENT]
    else:  # a checkpoint by itself: nobody knows what its run began with
        return []
    usual = _usual(config.task)
    made = [choice for choice in wanted if _is_open(choice.option, config, usual)]
    for choice in made:
        OmegaConf.update(config, choice.option, choice.value, merge=False)
    if not made:
        return []
    words = [_word(choice) for choice in made]
    wide = max(map(len, words))
    return [
        f"recipe=auto: {beginning}; type any of these to change it, or recipe=null to leave all as in conf/:",
        *(f"  {word:{wide}}  {choice.why}".rstrip() for word, choice in zip(words, made, strict=True)),
    ]


def _for_heads(choices: Sequence[Choice], config: DictConfig) -> list[Choice]:
    """Of several heads what is chosen for the head is chosen for each."""
    made = []
    for choice in choices:
        group, dot, option = choice.option.partition(".")
        names = config.head.get("parts") or () if group == "head" else ()
        places = [f"head.parts.{name}" for name in names] or [group]
        made += [replace(choice, option=f"{place}{dot}{option}") for place in places]
    return made


def _says_how_to_train() -> bool:
    """Whether the config has an experiment or a preset; the name of a preset may be one that there is not."""
    chosen = HydraConfig.get().runtime.choices
    presets = GlobalHydra.instance().config_loader().get_group_options("preset")
    return bool(chosen.get("experiment")) or chosen.get("preset") in presets


def _usual(task: str) -> DictConfig:
    """The config of a task as it is when nobody chooses anything."""
    words = [f"task={task}", "preset=none"]
    return GlobalHydra.instance().config_loader().load_configuration("train", words, run_mode=RunMode.RUN)


def _typed() -> set[str]:
    """Options and groups that the command line sets."""
    return {word.partition("=")[0].lstrip("+~") for word in HydraConfig.get().overrides.task}


def _facts(config: DictConfig, train: Dataset) -> Facts:
    trainer, data, typed = config.trainer, config.data, _typed()
    draws = draws_of(train, data.get("repeat_threshold"))
    images = len(train) if draws is None else epoch_draws(draws)
    accumulated = int(trainer.get("accumulate_grad_batches") or 1)
    batch = data.batch_size * _devices(trainer) * int(trainer.get("num_nodes") or 1)
    limit = trainer.get("limit_train_batches")
    if isinstance(limit, float):
        images = max(1, min(images, round(limit * images)))
    elif isinstance(limit, int) and limit > 0:
        images = min(images, limit * batch)
    epochs = trainer.get("max_epochs") if "trainer.max_epochs" in typed else None
    if (steps := trainer.get("max_steps") or -1) > 0:
        most = math.ceil(steps / max(1, images // (batch * accumulated)))
        epochs = most if epochs is None or epochs < 1 else min(epochs, most)
    return Facts(
        task=config.task,
        images=images,
        batch=batch * accumulated,
        # A whole model to begin with has a head that knows something, too.
        pretrained=bool(config.backbone.get("weights")) and not config.init_from,
        epochs=epochs,
        batches_of_step=accumulated,
        rate_factor=_rate_factor(config),
        object_sides=object_sides(train),
    )


def _rate_factor(config: DictConfig) -> float:
    """What the class of the head says; a head that is not there is told later."""
    heads = [config.head, *(config.head.get("parts") or {}).values()]
    try:
        return max(float(getattr(get_object(str(head.get("_target_"))), "rate_factor", 1.0)) for head in heads)
    except Exception:  # whatever importing it runs into; building it says so
        return 1.0


def _devices(trainer: DictConfig) -> int:
    """How many the trainer will take, as far as its options say."""
    devices = trainer.get("devices", "auto")
    if isinstance(devices, int) and devices > 0:
        return devices
    if OmegaConf.is_list(devices):
        return max(1, len(devices))
    there = torch.cuda.device_count() if trainer.get("accelerator", "auto") in ("auto", "gpu", "cuda") else 0
    return max(1, there)


def _is_open(option: str, config: DictConfig, usual: DictConfig) -> bool:
    """Whether the config has an option, and nobody has decided it: neither a word nor a file of somebody's own."""
    typed, group = _typed(), option.partition(".")[0]
    if option in typed or (group in _WHOLE and group in typed):
        return False
    now, before = (OmegaConf.select(each, option, default=_ABSENT) for each in (config, usual))
    # A head that was added has no usual options.
    if now is _ABSENT or before not in (now, _ABSENT):
        return False
    if option == "optimizer.lr":
        return bool(config.optimizer.get("_target_") == _ADAMW)
    if option == "model.size":  # a model that knows something knows it at its own size
        return not (config.init_from or config.teacher.model or config.data.get("train_sizes"))
    if option == "trainer.max_epochs":
        return (config.trainer.get("max_steps") or -1) < 1
    if option == "trainer.check_val_every_n_epoch":  # what counts validations counts epochs as they are
        return config.trainer.get("val_check_interval") is None and not config.callbacks.get("early_stopping")
    return True


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
