"""What the command line of an export asks for, checked before anything is loaded or computed."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, ListConfig, OmegaConf

from mnv2dense.runtimes.metadata import PRECISIONS, SUFFIXES, Precision

EXPORTERS = {module: suffix for suffix, module in SUFFIXES.items()} | {"coreml": ".mlpackage"}
"""Module of :mod:`mnv2dense.export.formats` -> suffix of its files. Core ML's run on Apple's systems alone."""

# What every exporter is given; its other parameters are its own options.
_GIVEN = ("graph", "path", "description", "calibration", "keep_float", "nms_node")

# In every package that Core ML's tools write.
_PACKAGE_MARK = "Manifest.json"


@dataclass(frozen=True)
class ExportOptions:
    """Of one export.

    Attributes:
        exporter: module of :mod:`mnv2dense.export.formats`.
        precision: of the file.
        size: (height, width) of its input, pixels; None is the model's own.
        decided: whether boxes are suppressed, or classes of pixels chosen, inside the file.
        keep_float: names of modules that stay in float at int8.
        keep_worst: how many layers of the sensitivity report stay in float, where ``keep_float`` names none.
        tolerance: what :meth:`mnv2dense.export.parity.Tolerance.of` takes by name.
    """

    exporter: str
    precision: Precision
    size: tuple[int, int] | None
    decided: bool
    keep_float: list[str]
    keep_worst: int
    tolerance: dict[str, float | None]


def export_options(config: DictConfig) -> ExportOptions:
    """Read and check a config of conf/export.yaml.

    Raises:
        ValueError: a value that cannot be; the message names the key and what to write.
    """
    exporter = str(config.exporter)
    _check_choice("exporter", exporter, list(EXPORTERS))
    _check_choice("precision", str(config.precision), PRECISIONS)
    _check_choice("nms", config.nms, [False, True, "node"])
    _check_choice("labels", config.labels, [False, True])
    if config.nms == "node" and exporter != "onnx":
        raise ValueError(f"nms=node is ONNX's own operator, which {exporter} lacks; take nms=true.")
    if config.threads is not None and (type(config.threads) is not int or config.threads < 1):
        raise ValueError(f"threads={config.threads}: at least 1, or null for what the runtime takes.")
    if not isinstance(config.options, DictConfig):
        raise ValueError(f"options={config.options}: they are set one by one, as in +options.dynamic_size=true.")
    if config.output is not None:
        _check_output(Path(str(config.output)), EXPORTERS[exporter])
    keep_float, keep_worst = _keep_float(config)
    return ExportOptions(
        exporter=exporter,
        precision=cast(Precision, str(config.precision)),
        size=_size(config.size),
        decided=config.nms is True or config.labels,
        keep_float=keep_float,
        keep_worst=keep_worst,
        tolerance=_tolerance(config.tolerance),
    )


def check_decisions(config: DictConfig, task: str) -> None:
    """Whether a model of this task makes the decisions that are asked for.

    Raises:
        ValueError: it does not.
    """
    for key, own in (("nms", "detection"), ("labels", "segmentation")):
        if config[key] is not False and task != own:
            word = str(config[key]).lower()
            raise ValueError(f"{key}={word} is for {own}, and this model is for {task}; leave {key} out.")


def _check_choice(key: str, value: object, choices: Sequence[object]) -> None:
    # By type too: 1 == True, and what is not True would then be taken for false.
    if any(type(value) is type(choice) and value == choice for choice in choices):
        return
    words = [str(choice).lower() if isinstance(choice, bool) else str(choice) for choice in choices]
    close = difflib.get_close_matches(str(value).lower(), words, n=1)
    meant = f"; did you mean {key}={close[0]}?" if close else "."
    raise ValueError(f"{key}={value}: there is no such choice{meant} Choose from {', '.join(words)}.")


def _check_output(path: Path, suffix: str) -> None:
    """Whether the file may take this name: what stands in the way should be said before minutes of work."""
    if path.suffix != suffix:
        raise ValueError(f"output={path}: such a file ends in {suffix}.")
    if path.is_dir() and not (suffix == ".mlpackage" and (path / _PACKAGE_MARK).is_file()):
        raise ValueError(f"output={path}: a folder of that name is there, which no export replaces; name another file.")
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise ValueError(f"output={path}: {folder} is a file, so no folder; name another place.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"output={path}: the folder {folder} may not be written to; name another place.")


def _keep_float(config: DictConfig) -> tuple[list[str], int]:
    """Names of modules, or how many the sensitivity report chooses."""
    kept = config.keep_float
    if isinstance(kept, ListConfig):
        names, worst = [str(name) for name in kept], 0
    elif (found := re.fullmatch(r"auto:([1-9]\d*)", str(kept))) is not None:
        names, worst = [], int(found[1])
    else:
        raise ValueError(
            f"keep_float={kept}: give a list, as in keep_float=[backbone.stem], or auto:4 for the 4 worst."
        )
    if (config.sensitivity or worst) and (config.precision != "int8" or config.exporter == "coreml"):
        key = "sensitivity=true" if config.sensitivity else f"keep_float={kept}"
        raise ValueError(f"{key} tells what int8 activations cost: add precision=int8, and an exporter but coreml.")
    return names, worst


def _size(size: Any) -> tuple[int, int] | None:  # noqa: ANN401 - whatever stands in the config
    if size is None:
        return None
    sides = OmegaConf.to_container(size) if OmegaConf.is_config(size) else size
    if not isinstance(sides, list) or [type(side) for side in sides] != [int, int] or min(sides) < 32:
        raise ValueError(f"size={sides}: give height and width, 32 pixels or more, as in size=[320,320].")
    return sides[0], sides[1]


def own_options(config: DictConfig, exporter: str) -> dict[str, Any]:
    """Of the exporter alone, by name, as its function takes them; imports the exporter, and torch with it.

    Raises:
        ValueError: an option that it does not have.
    """
    options = cast(dict[str, Any], OmegaConf.to_container(config.options, resolve=True))
    parameters = inspect.signature(importlib.import_module(f"mnv2dense.export.formats.{exporter}").export).parameters
    for name, value in options.items():
        if name in _GIVEN or name not in parameters:
            choices = ", ".join(sorted(parameters.keys() - _GIVEN)) or "none"
            raise ValueError(f"options.{name}: {exporter} has no such option; it has {choices}.")
        if isinstance(parameters[name].default, bool):
            _check_choice(f"options.{name}", value, [False, True])
    if config.nms == "node":
        options["nms_node"] = True
    return options


def _tolerance(limits: Any) -> dict[str, float | None]:  # noqa: ANN401 - whatever stands in the config
    if not isinstance(limits, DictConfig):
        raise ValueError(f"tolerance={limits}: its limits are set one by one, as in tolerance.agreement=0.8.")
    found = {str(name): limit for name, limit in limits.items()}
    for name, limit in found.items():
        if limit is not None and type(limit) not in (int, float):
            raise ValueError(f"tolerance.{name}={limit}: a number, or null for what the precision should reach.")
    return found
