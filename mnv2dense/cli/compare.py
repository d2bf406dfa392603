"""tools/compare.py: which of several runs is better, by how much, and how sure that is."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from mnv2dense.cli.parts import check_checkpoint, check_needed
from mnv2dense.cli.shell import run_command
from mnv2dense.utils.numbers import is_whole
from mnv2dense.visualization.palettes import check_palette


def compare() -> None:
    """``mnv2dense-compare`` and tools/compare.py."""
    run_command("compare", _compare)


def _compare(config: DictConfig) -> None:
    check_needed(config)
    check_palette(config.palette)
    for key, least in (("draws", 100), ("rounds", 1), ("threads", 1), ("pictures", 0)):
        if not is_whole(config[key]) or config[key] < least:
            raise ValueError(f"{key}={config[key]}: a whole number of at least {least} is needed.")
    if not isinstance(config.timing, bool):
        raise ValueError(f"timing={config.timing}: true or false is needed.")
    models = [str(model) for model in config.models or ()]
    if len(models) < 2:
        raise ValueError("two or more runs are needed, one after the other: python tools/compare.py RUN RUN")
    twice = next((model for model in models if models.count(model) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is there twice; name runs that differ.")
    for model in models:
        if not _is_evaluation(model):
            check_checkpoint(model)

    from mnv2dense.cli.compare_job import run  # with torch: what is wrong above is told at once

    run(config, models)


def _is_evaluation(name: str) -> bool:
    """Whether this may be a folder of evaluate.py, which has a config and no checkpoint."""
    return Path(name, "config.yaml").is_file() and not Path(name, "checkpoints").exists()
