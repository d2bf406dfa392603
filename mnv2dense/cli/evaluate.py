"""tools/evaluate.py: score a checkpoint, as the run that made it did at its end, or a file exported from it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnv2dense.cli.joint_data import spell_out_parts
from mnv2dense.cli.parts import (
    built,
    check_checkpoint,
    check_needed,
    data_module,
    model_of,
    plain_config,
    scoring_bar,
    show_scores,
    viewing_of,
)
from mnv2dense.cli.shell import console, run_command
from mnv2dense.cli.words import as_typed
from mnv2dense.reporting.run_config import trained_config, trusted_part
from mnv2dense.reporting.run_folder import RunFolder
from mnv2dense.utils.numbers import is_number
from mnv2dense.visualization.palettes import check_palette

log = logging.getLogger(__name__)


def evaluate() -> None:
    """``mnv2dense-evaluate`` and tools/evaluate.py."""
    run_command("evaluate", _evaluate)


def _evaluate(config: DictConfig) -> None:
    check_needed(config)
    check_palette(config.palette)
    _check_thresholds(config)
    check_checkpoint(config.checkpoint)
    log.info("loading %s", config.checkpoint)

    # Only now, with torch: what is wrong above is told at once.
    from mnv2dense.evaluation.promise_table import promise_table
    from mnv2dense.evaluation.score import check_classes
    from mnv2dense.inference.least_scores import least_scores
    from mnv2dense.metrics.missed_promise import Promise
    from mnv2dense.models.kept_thresholds import file_to_keep_in
    from mnv2dense.types import SHOWN_SCORE
    from mnv2dense.types.thresholds import AUTO
    from mnv2dense.workflows.evaluation import evaluate as evaluate_model

    if config.keep_thresholds:
        file_to_keep_in(str(config.checkpoint))
    test_time = viewing_of(config)
    model = model_of(config, test_time)
    if config.threshold == AUTO and not config.keep_thresholds:
        least_scores(model, AUTO, named=str(config.checkpoint))
    task = model.task
    if config.expected_task not in (None, task):
        raise ValueError(
            f"task={config.expected_task}: {config.checkpoint} is for {task}; leave task= out, or set task={task}."
        )
    config.task = task  # data and metrics may go by it
    spell_out_parts(config, tasks=getattr(model.selection, "tasks", {}))
    plain = plain_config(config)
    trained = trained_config(config.checkpoint)
    data = config.get("data")
    if data is None:
        data = _trusted(trained, "data")
    if data is None:
        raise ValueError(
            f"checkpoint={config.checkpoint} has no config.yaml beside it that tells its data; "
            "name some: data=coco data.root=PATH."
        )
    for key in ("batch_size", "num_workers"):
        if config.get(key) is not None:
            data[key] = config[key]
    datamodule = data_module(data, val=built(data.val), size=model.size, resize=model.resize)
    check_classes(model, datamodule)  # before there is a folder
    folder = RunFolder.create(config.run_dir, task="evaluate")
    folder.log_to_file()
    metric = config.get("metric") or _trusted(trained, "metric")
    with scoring_bar() as progress:
        found = evaluate_model(
            model,
            datamodule,
            metric=None if metric is None else built(metric),
            test_time=test_time,
            run_dir=folder,
            config={**plain, "data": OmegaConf.to_container(data, resolve=True)},
            progress=progress,
            palette=config.palette,
            threshold=SHOWN_SCORE if config.threshold is None else config.threshold,
            promise=None if config.promise.missed is None else Promise(**config.promise),
            keep_in=str(config.checkpoint) if config.keep_thresholds else None,
        )
    for name, promised in found.promised.items():
        console().print(promise_table(promised, title=name))
    if found.kept_in is not None:
        log.info("%s keeps what was chosen: threshold=auto and calibrated=true predict with it.", found.kept_in)
    show_scores(folder.path, found.scores, found.metric, model, datamodule.val, title=str(config.checkpoint))
    if found.not_kept:
        raise ValueError(f"keep_thresholds=true: {found.not_kept}")


def _check_thresholds(config: DictConfig) -> None:
    """What can be told of the options alone."""
    from mnv2dense.types import SHOWN_SCORE
    from mnv2dense.types.thresholds import AUTO

    if config.threshold not in (None, AUTO) and not is_number(config.threshold):
        raise ValueError(
            f"threshold={config.threshold}: a number is needed, as {SHOWN_SCORE}, or auto for what the model keeps."
        )
    if not isinstance(config.keep_thresholds, bool):
        raise ValueError(f"keep_thresholds={config.keep_thresholds}: true or false is needed.")
    if not isinstance(config.promise, DictConfig):
        raise ValueError(f"promise={config.promise}: its options are set one by one, as in promise.missed=0.1.")
    for name in ("missed", "confidence"):
        value = config.promise[name]
        if not is_number(value) and not (name == "missed" and value is None):
            raise ValueError(f"promise.{name!s}={value}: a share between 0 and 1 is needed, as 0.1 for 10%.")


def _trusted(trained: Mapping[str, Any] | None, key: str) -> DictConfig | None:
    part = trusted_part(trained, key)
    return None if part is None else OmegaConf.create(as_typed(part))
