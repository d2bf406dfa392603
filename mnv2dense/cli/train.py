"""tools/train.py: build everything that a config names, train it, score the best of it."""

from __future__ import annotations

import logging
import re
from contextlib import nullcontext

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from mnv2dense.cli.foreign_parts import check_foreign_parts, keep_own_options, leave_out_options_of_ours
from mnv2dense.cli.joint_data import spell_out_parts
from mnv2dense.cli.parts import built, check_checkpoint, plain_config, size_of
from mnv2dense.cli.restart import begun_again
from mnv2dense.cli.shell import run_command
from mnv2dense.reporting.auto_resume import AUTO, check_auto_resume, resumed_here
from mnv2dense.reporting.run_folder import RunFolder, refuse_another_run
from mnv2dense.training.preflight import check_length, check_precision, check_seed
from mnv2dense.utils.distributed import is_first_process
from mnv2dense.visualization.palettes import check_palette

log = logging.getLogger(__name__)


def train() -> None:
    """``mnv2dense-train`` and tools/train.py."""
    run_command("train", _train)


def _train(config: DictConfig) -> None:
    check_foreign_parts(config)
    notes = keep_own_options(config, _without_preset)
    notes += leave_out_options_of_ours(config, HydraConfig.get().overrides.task)
    spell_out_parts(config)
    plain = plain_config(config)
    _check_preset()
    check_length(plain["trainer"])
    check_palette(config.palette)
    check_precision(plain["trainer"].get("precision"))
    if config.compile and config.callbacks.get("quantization_aware"):
        raise ValueError("compile=true: torch cannot compile torchao's fake quantisation; leave compile out.")
    check_seed(config.seed)
    if config.recipe not in ("auto", None):
        raise ValueError(
            f"recipe={config.recipe}: auto chooses by the data what was not typed; null leaves all as in conf/."
        )
    size_of(plain["model"]["size"])
    if not isinstance(config.teacher, DictConfig):
        raise ValueError(f"teacher={config.teacher}: its options are set one by one, as in teacher.model=RUN.")
    check_auto_resume(config.resume, config.run_dir)
    for given in (config.resume, config.init_from, config.teacher.model):
        if given and given != AUTO:
            check_checkpoint(given)
    if config.teacher.get("cache") and not config.teacher.model:
        raise ValueError(f"teacher.cache={config.teacher.cache}: nobody teaches; say who, as in teacher.model=RUN.")
    if config.compile and config.teacher.model:
        raise ValueError("compile=true: a teacher does not become part of the graph; leave compile out.")
    folder = RunFolder.create(config.run_dir, task=config.task)
    asked, from_here = config.resume, resumed_here(config.resume, folder)
    config.resume = plain["resume"] = None if from_here is None else str(from_here)
    refuse_another_run(folder, resume=config.resume)
    folder.log_to_file()
    if asked == AUTO and is_first_process():
        log.info("resume=auto: %s", "going on" if from_here else "the folder holds no checkpoint yet: from the start")
    for note in notes:
        log.info("%s", note)
    if not folder.holds_a_run:  # of one that is resumed here, once its options are found to fit
        folder.write_config(plain)
    log.info("run folder: %s", folder.path)
    with folder.gone_if_nothing_begins():
        log.info("reading the data and building the model")
        train, val = built(config.data.train), built(config.data.val)

        from mnv2dense.cli.train_job import run  # with torch and Lightning: what is wrong above is told before

        alone = asked == AUTO and HydraConfig.get().mode != RunMode.MULTIRUN
        with begun_again(folder) if alone else nullcontext():
            run(config, folder, train=train, val=val, goes_on_alone=alone)


def _without_preset() -> DictConfig:
    """The same config without the preset that comes with task and data; with one that was asked for, as it is."""
    typed = list(HydraConfig.get().overrides.task)
    if any(word.startswith(("preset=", "~preset")) for word in typed):
        words = typed
    else:
        # An option may be there by the preset alone, and is added then. A choice that is not there is passed over.
        words = [*(f"++{word}" if re.match(r"\w+(\.\w+)+=", word) else word for word in typed), "preset=none"]
    return GlobalHydra.instance().config_loader().load_configuration("train", words, run_mode=RunMode.RUN)


def _check_preset() -> None:
    """An optional group takes any name without a word; only a data set's own preset may be missing."""
    chosen = HydraConfig.get().runtime.choices
    if "preset" not in chosen:  # ~preset
        return
    presets = GlobalHydra.instance().config_loader().get_group_options("preset")
    if chosen["preset"] not in (f"{chosen['task']}_{chosen['data']}", *presets):
        raise ValueError(f"preset={chosen['preset']}: there is no such choice. Choose from {', '.join(presets)}.")
