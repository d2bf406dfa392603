"""What the command line of an export asks for, read into plain values before anything is loaded or computed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, ListConfig, OmegaConf

from mnv2dense.export.options import ExamOptions, ExportOptions, check_output
from mnv2dense.pretrained.named import license_of


@dataclass(frozen=True)
class ExportCommand:
    """Of one command line.

    Attributes:
        asked: of the export.
        keep_worst: how many layers of the sensitivity report stay in float, where ``asked`` names none.
        tolerance: what :meth:`mnv2dense.export.parity.Tolerance.of` takes by name.
    """

    asked: ExportOptions
    keep_worst: int
    tolerance: dict[str, float | None]


def export_command(config: DictConfig) -> ExportCommand:
    """Read and check a config of conf/export.yaml.

    Raises:
        ValueError: a value that cannot be; the message names the key and what to write.
        ImportError: what the exporter needs is not installed.
    """
    keep_float, keep_worst = _keep_float(config)
    asked = ExportOptions(
        exporter=str(config.exporter),
        precision=cast(Any, str(config.precision)),
        nms=config.nms,
        labels=config.labels,
        size=_size(config.size),
        selection=_section(config.selection, "selection", "selection.limit=20"),
        keep_float=keep_float,
        target=cast(Any, str(config.target)),
        repair=config.repair,
        options=_section(config.options, "options", "+options.dynamic_size=true"),
        license=str(config.license or license_of(str(config.checkpoint)) or "unknown"),
        threads=config.threads,
        exam=_exam(config.exam),
        split=_split(config.split),
    )
    if config.output is not None:
        check_output(Path(str(config.output)), asked.exporter)
    if (config.sensitivity or keep_worst) and (asked.precision != "int8" or asked.exporter == "coreml"):
        key = "sensitivity=true" if config.sensitivity else f"keep_float={config.keep_float}"
        raise ValueError(f"{key} tells what int8 activations cost: add precision=int8, and an exporter but coreml.")
    if asked.split is not None and (config.sensitivity or keep_worst):
        key = "sensitivity=true" if config.sensitivity else f"keep_float={config.keep_float}"
        raise ValueError(
            f"{key} looks at whole blocks, and split={asked.split} cuts them: make the table without split, then name "
            "what stays in float, as in keep_float=[backbone.blocks.1]."
        )
    return ExportCommand(asked, keep_worst, _tolerance(config.tolerance))


def _exam(exam: object) -> ExamOptions:
    if not isinstance(exam, DictConfig):
        raise ValueError(f"exam={exam}: its options are set one by one, as in exam.pictures=0 for a file without one.")
    return ExamOptions(exam.pictures, None if exam.images is None else str(exam.images))


def _keep_float(config: DictConfig) -> tuple[list[str], int]:
    """Names of modules, or how many the sensitivity report chooses."""
    kept = config.keep_float
    if isinstance(kept, ListConfig):
        return [str(name) for name in kept], 0
    found = re.fullmatch(r"auto:([1-9]\d*)", str(kept))
    if found is None:
        raise ValueError(
            f"keep_float={kept}: give a list, as in keep_float=[backbone.stem], or auto:4 for the 4 worst."
        )
    return [], int(found[1])


def _split(split: object) -> Any:  # noqa: ANN401 - whatever stands in the config; the export checks it
    # Of data, "split" is the name of one, so words are texts here.
    return int(split) if isinstance(split, str) and re.fullmatch(r"-?\d+", split) else split


def _size(size: object) -> Any:  # noqa: ANN401 - whatever stands in the config; the export checks it
    sides = OmegaConf.to_container(size) if OmegaConf.is_config(size) else size
    return tuple(sides) if isinstance(sides, list) else sides


def _section(options: object, key: str, example: str) -> dict[str, Any]:
    """Options by name, without those that are null."""
    if not isinstance(options, DictConfig):
        raise ValueError(f"{key}={options}: they are set one by one, as in {example}.")
    found = cast(dict[str, Any], OmegaConf.to_container(options, resolve=True))
    return {str(name): value for name, value in found.items() if value is not None}


def _tolerance(limits: object) -> dict[str, float | None]:
    if not isinstance(limits, DictConfig):
        raise ValueError(f"tolerance={limits}: its limits are set one by one, as in tolerance.agreement=0.8.")
    found = {str(name): limit for name, limit in limits.items()}
    for name, limit in found.items():
        if limit is not None and type(limit) not in (int, float):
            raise ValueError(f"tolerance.{name}={limit}: a number, or null for what the precision should reach.")
    return found
