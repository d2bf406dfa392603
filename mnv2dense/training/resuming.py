"""Going on with a run: what its checkpoint says of it, and its schedule where the run has another length now."""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from mnv2dense.utils.distributed import is_first_process

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.optim import Optimizer

_log = logging.getLogger(__name__)

RUN = "mnv2dense_run"
"""The entry of a checkpoint that says what it was trained by; those of version 0.1 have none."""


def run_entry(trainer: pl.Trainer) -> dict[str, Any]:
    """What goes under :data:`RUN`: plain values, for a run that goes on to be compared with."""
    data: Any = getattr(trainer, "datamodule", None)
    schedulers: list[Any] = [config.scheduler for config in trainer.lr_scheduler_configs]
    return {
        "optimizer": name_of(next(iter(trainer.optimizers), None)),
        "schedule": name_of(schedulers[0].lr_lambdas[0]) if schedulers else None,
        "max_epochs": trainer.max_epochs,
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "batch_size": getattr(data, "batch_size", None),
        "processes": trainer.world_size,
        "images": len(getattr(data, "train", None) or ()),
        "epoch_length": getattr(data, "epoch_length", None),
        "repeat_threshold": getattr(data, "repeat_threshold", None),
        "train_sizes": [list(size) for size in getattr(data, "train_sizes", ())],
        "views": getattr(data, "views", None),
        "reduced_decode": getattr(data, "reduced_decode", False),
        "cached": getattr(data, "cached", False),
        "blocks": blocks_of(getattr(data, "train", None)),
        "seed": getattr(data, "seed", None),
    }


def blocks_of(dataset: object) -> list[int] | None:
    """What an epoch's order goes by where images lie in blocks: how many are mixed, and a CRC-32 of what lies where."""
    blocks = getattr(dataset, "blocks", None)
    return None if blocks is None else [blocks.at_once, zlib.crc32(blocks.of_images.tobytes())]


def name_of(part: object) -> str | None:
    """Of a class or a function; None of nothing."""
    return None if part is None else str(getattr(part, "__qualname__", type(part).__qualname__))


def place_of(checkpoint: Mapping[str, Any]) -> tuple[int, int]:
    """Epochs that are done, and batches of the one after them."""
    state = checkpoint.get("callbacks", {}).get("BestAndLast")
    if state is not None:
        return int(state["epoch"]), int(state["batches"])
    return int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]), 0


def steps_in_all(checkpoint: Mapping[str, Any], trainer: pl.Trainer) -> int:
    """Optimiser steps of the whole run: those done, whatever an epoch was then, and those left as an epoch is now."""
    steps = int(trainer.estimated_stepping_batches)
    epochs = trainer.max_epochs
    if epochs is None or epochs < 1:
        return steps
    batches = int(trainer.num_training_batches)
    of_epoch = math.ceil(batches / trainer.accumulate_grad_batches)
    epoch, batch = place_of(checkpoint)
    left = (epochs - epoch) * of_epoch - math.ceil(batch / trainer.accumulate_grad_batches)
    whole = int(checkpoint["global_step"]) + max(0, left)
    return whole if trainer.max_steps == -1 else min(whole, trainer.max_steps)


def span_anew(checkpoint: Mapping[str, Any], schedule: Callable[[int], float]) -> None:
    """Where the run has another length than it was to have, its schedule goes by the new one from here on.

    A schedule that kept to the old length would train the epochs that were added at its last learning rate, which is 0
    for most. Where nothing changed, the checkpoint is left as it is: the run goes on to the last bit.

    Args:
        checkpoint: about to be restored; its learning rates become those of ``schedule``.
        schedule: over the new length.
    """
    scheduler = checkpoint["lr_schedulers"][0]
    state, steps = scheduler["lr_lambdas"][0], getattr(schedule, "total_steps", None)
    if not state or steps is None or state.get("total_steps") == steps:
        return
    factor = schedule(int(scheduler["last_epoch"]))
    groups = checkpoint["optimizer_states"][0]["param_groups"]
    stood = max(group["lr"] for group in groups)
    for group in groups:
        group["lr"] = group["initial_lr"] * factor
    scheduler["_last_lr"] = [group["lr"] for group in groups]
    scheduler["lr_lambdas"] = [None] * len(scheduler["lr_lambdas"])
    if not is_first_process():
        return
    _log.warning(
        "The schedule spans %s optimiser steps now, %s before: after %s of them the learning rate goes on at %.3g; it "
        "stood at %.3g.",
        *(f"{number:,}" for number in (steps, state.get("total_steps", 0), scheduler["last_epoch"])),
        max(scheduler["_last_lr"]),
        stood,
    )


def say_processes(checkpoint: Mapping[str, Any], trainer: pl.Trainer) -> None:
    """One line where another number of processes goes on with the run; only Lightning's trainer knows how many."""
    before, now = checkpoint.get(RUN, {}), run_entry(trainer)
    if before.get("processes") in (None, now["processes"]) or not is_first_process():
        return
    images, images_before = (
        math.prod(int(run.get(key) or 1) for key in ("processes", "batch_size", "accumulate_grad_batches"))
        for run in (now, before)
    )
    of_step = "as before" if images == images_before else f"{images_before} before, and optimizer.lr stays as it was"
    in_epoch = (
        "of the epoch that it stopped in, some images come twice or not at all; " if place_of(checkpoint)[1] else ""
    )
    _log.warning(
        "resume: %d processes, %d before: a step takes %d images, %s; %sthe run is not to the bit what it would have "
        "been.",
        *(now["processes"], before["processes"], images, of_step, in_epoch),
    )


def check_trained(checkpoint: Mapping[str, Any], optimizer: Optimizer) -> None:
    """The optimiser's state belongs to the parameters that were trained.

    Raises:
        ValueError: others are trained now.
    """
    there, here = (
        [len(group["params"]) for group in groups]
        for groups in (checkpoint["optimizer_states"][0]["param_groups"], optimizer.param_groups)
    )
    if there != here:
        raise ValueError(
            f"resume: its run trained {sum(there)} parameters in {len(there)} groups, this one would train {sum(here)} "
            f"in {len(here)}. Give the options of that run (callbacks.freeze), or begin a new run "
            "with its weights: init_from=."
        )
