"""tools/export.py: a model as a file for a runtime, refused where it does not answer as the model does."""

from __future__ import annotations

from omegaconf import DictConfig

from mnv2dense.cli.export_options import export_command
from mnv2dense.cli.parts import check_checkpoint
from mnv2dense.cli.shell import run_command
from mnv2dense.runtimes.formats import is_exported


def export() -> None:
    """``mnv2dense-export`` and tools/export.py."""
    run_command("export", _export)


def _export(config: DictConfig) -> None:
    if is_exported(config.checkpoint):
        raise ValueError(f"checkpoint={config.checkpoint} is an exported file already; give what it was made of.")
    command = export_command(config)
    check_checkpoint(config.checkpoint)

    from mnv2dense.cli.export_job import run  # with torch: what is wrong above is told at once

    run(config, command)
