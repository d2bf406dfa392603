"""tools/info.py: what a model costs, layer by layer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf

from mnv2dense.cli.foreign_parts import check_foreign_parts, leave_out_options_of_ours
from mnv2dense.cli.parts import check_checkpoint, packages_of
from mnv2dense.cli.shell import console, run_command

_DTYPES = ("float32", "float16", "bfloat16")

log = logging.getLogger(__name__)


def info() -> None:
    """``mnv2dense-info`` and tools/info.py."""
    run_command("info", _info)


# COCO's boxes, VOC's masks; a classifier has ImageNet's.
_USUAL = {"detection": 80, "segmentation": 21}


def _names_of_parts(parts: Mapping[str, Mapping[str, Any]], classes: int | None) -> list[str]:
    """Numbers for names, as many for each head as were asked for, or as are usual for its task."""
    from hydra.utils import get_object

    from mnv2dense.utils.joint_names import joint_names

    counts = {name: classes or _USUAL.get(get_object(part["_target_"]).task, 1000) for name, part in parts.items()}
    return list(joint_names({name: [str(label) for label in range(count)] for name, count in counts.items()}))


def _info(config: DictConfig) -> None:
    if config.dtype not in _DTYPES:
        raise ValueError(f"dtype={config.dtype}: choose one of {', '.join(_DTYPES)}.")
    wanted = config.size if config.size is not None else config.model.size
    sides = list(wanted) if isinstance(wanted, ListConfig) else [wanted] * 2
    if len(sides) != 2 or not all(isinstance(side, int) and side >= 32 for side in sides):
        raise ValueError(
            f"size={config.size}: a side of at least 32 pixels, or height and width: size=192, size=[192,256]."
        )
    classes = config.classes
    if classes is None:
        classes = _USUAL.get(config.task, 1000)
    if not isinstance(classes, int) or classes < 1:
        raise ValueError(f"classes={classes}: a whole number, 1 or more.")
    if config.checkpoint is not None:
        check_checkpoint(config.checkpoint)

    # Only now: what is wrong above is told at once.
    import torch

    from mnv2dense.costs.complexity import complexity
    from mnv2dense.costs.table import cost_table
    from mnv2dense.models.checkpoint import load_model
    from mnv2dense.models.dense_model import build_model, parts_of

    if config.checkpoint is not None:
        model = load_model(config.checkpoint, packages=config.packages)
        sides = sides if config.size else list(model.size)
        title = str(config.checkpoint)
    else:
        check_foreign_parts(config)
        for note in leave_out_options_of_ours(config, HydraConfig.get().overrides.task):
            log.info("%s", note)
        parts = {key: OmegaConf.to_container(config[key], resolve=True) for key in ("backbone", "head")}
        names = [str(label) for label in range(classes)]
        if joined := parts_of(parts["head"]):
            names = _names_of_parts(joined, config.classes)
        model = build_model({"size": sides, "class_names": names, **parts}, packages=packages_of(parts))
        title = f"{config.task}, {len(names)} classes"
    size = (int(sides[0]), int(sides[1]))
    costs = complexity(model, size, dtype=getattr(torch, config.dtype))
    console().print(cost_table(costs, title=f"{title}, {size[0]}x{size[1]}, {config.dtype}", depth=config.depth))
