"""Parts under tasks, presets and experiments that were written for others: of other packages, or another of ours."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hydra.utils import get_object
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict

from mnv2dense.utils.missing_packages import no_such_package

# Parts whose options tasks, presets and experiments set.
_FITTED = ("backbone", "head", "loss", "augment")


def check_foreign_parts(config: DictConfig) -> None:
    """Refuse what can be told of parts of other packages before a run has a folder or data.

    Raises:
        ValueError: a package that Python does not find, or a head for another task.
    """
    for part in ("backbone", "head", "loss", "augment", "metric"):
        if not (target := _foreign_target(config, part)):
            continue
        package = target.partition(".")[0]
        if package.isidentifier() and importlib.util.find_spec(package) is None:
            raise ValueError(f"{part}._target_={target!r} does not exist: {no_such_package(package)}")
        meant = _task_of(target) if part == "head" else None
        if meant is not None and meant != config.task:
            raise ValueError(
                f"head._target_={target!r} is for task={meant}, and this is task={config.task}. Choose task={meant}, "
                "or another head."
            )


def keep_own_options(config: DictConfig, without_preset: Callable[[], DictConfig]) -> list[str]:
    """Give foreign parts the options of their own files back where a preset, which was written for ours, set others.

    Args:
        config: is changed.
        without_preset: composes the same config without its preset; asked only where there is a foreign part.

    Returns:
        What was given back, one line for each part.
    """
    foreign = [part for part in _FITTED if _foreign_target(config, part)]
    if not foreign:
        return []
    notes, plain = [], without_preset()
    for part in foreign:
        own = OmegaConf.to_container(plain[part], resolve=False)
        now = OmegaConf.to_container(config[part], resolve=False)
        assert isinstance(own, dict)
        assert isinstance(now, dict)
        for key in (changed := [key for key in own if own[key] != MISSING and now.get(key) != own[key]]):
            config[part][key] = own[key]
        if changed:
            notes.append(f"{part}: {', '.join(map(str, changed))} as in its own file; the preset sets others for ours")
    return notes


def leave_out_options_of_ours(config: DictConfig, arguments: Sequence[str]) -> list[str]:
    """Take from parts the options that a task, preset or experiment sets for others of ours and that they do not have.

    ``task=segmentation`` sets ``backbone.output_stride``, say; a backbone of another package need not know it. The
    preset of the shapes sets anchors, and ``head=points`` has none. What was typed on the command line stays, to be
    refused by the part itself; so does an option that none of ours has.

    Args:
        config: is changed.
        arguments: the command line, without the program's name.

    Returns:
        What was left out, one line for each part.
    """
    notes: list[str] = []
    typed = {argument.partition("=")[0].lstrip("+~") for argument in arguments}
    chosen = {argument.partition("@")[2] for argument in typed if "@" in argument}
    if "backbone" in typed and "backbone.weights" not in typed:
        notes.extend(_without_weights_of_another(config))
    for part in (*_FITTED, *_joined(config)):
        options = OmegaConf.select(config, part)
        target = "" if not isinstance(options, DictConfig) else str(OmegaConf.select(options, "_target_") or "")
        # Ours as a task comes with them fit; and looking would load torch, for which no slip has to wait.
        if not target or (target.startswith("mnv2dense.") and part not in typed | chosen):
            continue
        taken, kind = _taken_by(target), part.partition(".")[0]
        strange = [] if taken is None else [str(key) for key in options if key not in taken and key != "_target_"]
        dropped = [key for key in strange if key in _options_of_ours(kind) and f"{part}.{key}" not in typed]
        with open_dict(config):
            for key in dropped:
                del options[key]
        if dropped:
            others = "others" if target.startswith("mnv2dense.") else "ours"
            notes.append(f"{part}: left out what {target} does not take, set for {others}: {', '.join(dropped)}")
    return notes


def _without_weights_of_another(config: DictConfig) -> list[str]:
    """A preset may begin with weights that come with the package; these are of one backbone, and none for another."""
    from mnv2dense.pretrained.named import SHIPPED

    options = config.get("backbone")
    weights = options.get("weights") if isinstance(options, DictConfig) else None
    if weights not in SHIPPED or not str(target := options.get("_target_")).startswith("mnv2dense."):
        return []
    from mnv2dense.models.backbone import choice_of
    from mnv2dense.pretrained import read_pretrained

    kind = read_pretrained(weights).kind
    if target.rpartition(".")[2] == choice_of(kind):
        return []
    options.weights = None
    return [f"backbone: left out weights={weights}, which are of a {kind.__name__}"]


def _joined(config: DictConfig) -> list[str]:
    """The addresses of several heads and of their losses."""
    parts = {kind: OmegaConf.select(config, f"{kind}.parts") for kind in ("head", "loss")}
    return [
        f"{kind}.parts.{name}" for kind, own in parts.items() if isinstance(own, DictConfig) for name in map(str, own)
    ]


def _foreign_target(config: DictConfig, part: str) -> str:
    """The ``_target_`` of a part of another package; empty where it is ours, or none."""
    options = config.get(part)
    target = "" if not isinstance(options, DictConfig) else str(OmegaConf.select(options, "_target_") or "")
    return "" if target.startswith("mnv2dense.") else target


def _task_of(target: str) -> str | None:
    """The task that a head says it is for; None where it says none, or is not there, which is told later."""
    try:
        task = getattr(get_object(target), "task", None)
    except Exception:  # whatever importing it runs into; building it says so
        return None
    return task if isinstance(task, str) else None


def _taken_by(target: str) -> set[str] | None:
    """The options that a class or function takes; None where it takes any, or is not there, which is told later."""
    try:
        parameters = inspect.signature(get_object(target)).parameters.values()
    except Exception:  # whatever importing it runs into; building it says so
        return None
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return {parameter.name for parameter in parameters}


def _options_of_ours(part: str) -> set[str]:
    return {name for made in _ours(part) for name in inspect.signature(made).parameters}


def _ours(part: str) -> Iterable[Any]:
    if part == "backbone":
        from mnv2dense.models.backbone import FACTORIES

        return FACTORIES
    if part == "augment":
        from mnv2dense.data.augment import ClassificationAugment, DetectionAugment, SegmentationAugment

        return [ClassificationAugment, DetectionAugment, SegmentationAugment]
    from mnv2dense import heads, losses

    room = {"head": heads, "loss": losses}[part]
    return [getattr(room, name) for name in room.__all__]
