"""tools/fit_budget.py: a network chosen for a budget of time and size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mnv2dense.budget.networks import HEADS, RUNTIMES, TASKS, heads_of
from mnv2dense.cli.parts import plain_config
from mnv2dense.cli.shell import run_command
from mnv2dense.runtimes.metadata import PRECISIONS
from mnv2dense.utils.numbers import is_number, is_whole
from mnv2dense.utils.suggest import did_you_mean


def fit_budget() -> None:
    """``mnv2dense-fit-budget`` and tools/fit_budget.py."""
    run_command("fit_budget", _fit_budget)


def _fit_budget(config: DictConfig) -> None:
    plain = plain_config(config)
    _check_limits(plain)
    task = plain["for_task"]
    _check_choice("task", task, TASKS)
    _check_choice("runtime", plain["runtime"], (*RUNTIMES, None))
    _check_choice("clock", plain["clock"], ("wall", "cpu"))
    for key in ("decides", "remeasure"):
        _check_choice(key, plain[key], (True, False))
    for key, least in (("threads", 1), ("classes", 1)):
        if not (is_whole(plain[key]) and plain[key] >= least) and not (key == "classes" and plain[key] is None):
            raise ValueError(f"{key}={plain[key]}: a whole number of at least {least} is needed.")
    for key in ("heads", "precisions", "widths", "sizes"):
        plain[key] = plain[key] if isinstance(plain[key], list) or plain[key] is None else [plain[key]]
    for head in plain["heads"] or ():
        _check_choice("heads", head, tuple(HEADS))
        _check_choice(f"task={task} heads", head, heads_of(task))
    for precision in _some("precisions", plain["precisions"]):
        _check_choice("precisions", precision, PRECISIONS)
    for width in _some("widths", plain["widths"]):
        if not is_number(width) or not 0.1 <= width <= 3:
            raise ValueError(f"widths={width}: factors of MobileNetV2's channels, 0.1 to 3.")
    for size in _some("sizes", plain["sizes"]):
        if not is_whole(size) or not 64 <= size <= 2048:
            raise ValueError(f"sizes={size}: sides in pixels, 64 to 2048.")
    if plain["table"] is not None and Path(plain["table"]).is_dir():
        raise ValueError(f"table={plain['table']}: it is a folder; name a file.")

    from mnv2dense.cli.fit_budget_job import run  # with torch: what is wrong above is told at once

    run(config, plain)


def _check_limits(plain: dict[str, Any]) -> None:
    limits = {key: plain[key] for key in ("milliseconds", "megabytes", "memory") if plain[key] is not None}
    if not limits:
        raise ValueError("a budget is needed: milliseconds=10, megabytes=2, or both.")
    for key, value in limits.items():
        if not is_number(value) or not value > 0:
            raise ValueError(f"{key}={value}: a number above 0 is needed.")


def _check_choice(key: str, value: object, choices: Sequence[object]) -> None:
    if value in choices and isinstance(value, bool) == isinstance(choices[0], bool):
        return
    words = [
        str(choice).lower() if isinstance(choice, bool) else str(choice) for choice in choices if choice is not None
    ]
    meant = did_you_mean(str(value), words)
    raise ValueError(f"{key}={value}: there is no such choice{meant} Choose from {', '.join(words)}.")


def _some(key: str, values: list[Any]) -> list[Any]:
    if not values:
        raise ValueError(f"{key} is empty: there would be nothing to choose from.")
    return values
