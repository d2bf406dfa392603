"""tools/compare.py: which of several runs is better, by how much, and how sure that is."""

from __future__ import annotations

from omegaconf import DictConfig

from mnv2dense.cli.parts import check_checkpoint, check_needed
from mnv2dense.cli.shell import run_command
from mnv2dense.reporting.comparison import check_numbers
from mnv2dense.reporting.named_run import named_runs
from mnv2dense.visualization.palettes import check_palette


def compare() -> None:
    """``mnv2dense-compare`` and tools/compare.py."""
    run_command("compare", _compare)


def _compare(config: DictConfig) -> None:
    check_needed(config)
    check_palette(config.palette)
    check_numbers(config)
    if not isinstance(config.timing, bool):
        raise ValueError(f"timing={config.timing}: true or false is needed.")
    runs = named_runs([str(model) for model in config.models or ()])
    for run in runs:
        check_checkpoint(run.model)

    from mnv2dense.cli.compare_job import compare_runs  # with torch: what is wrong above is told at once

    compare_runs(config, runs)
