"""What has to be as it was where a run goes on, what may be otherwise, and what that does; said before training."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnv2dense.pretrained.checkpoint_file import BEST, ENTRY, LAST, find_checkpoint, read_checkpoint
from mnv2dense.protocols import OpensImages, PlanningAugment
from mnv2dense.training.resuming import RUN, blocks_of, name_of, place_of
from mnv2dense.utils.distributed import is_first_process
from mnv2dense.utils.listed import listed
from mnv2dense.utils.renamed import config_now
from mnv2dense.utils.text_files import read_yaml

if TYPE_CHECKING:
    from mnv2dense.data.module import DataModule
    from mnv2dense.models.dense_model import DenseModel
    from mnv2dense.training.task import Task

_log = logging.getLogger(__name__)


def check_resume(
    path: str, task: Task, data: DataModule, trainer: Mapping[str, Any], *, config: Mapping[str, Any] | None = None
) -> Path:
    """The checkpoint to go on from; what is otherwise than in its run is refused or said.

    Args:
        path: a run folder or a checkpoint file.
        task: of the new run.
        data: set up.
        trainer: options of Lightning's.
        config: of the new run, where there is one; tells what a model was begun with.

    Raises:
        FileNotFoundError: nothing there.
        CheckpointError: not a checkpoint.
        ValueError: of other classes, another model, optimiser or schedule, of a model alone, or of a run that is longer
            than this one is to be.
    """
    file = find_checkpoint(path, names=(LAST, BEST))
    checkpoint = read_checkpoint(file)
    if "optimizer_states" not in checkpoint:
        raise ValueError(f"resume={path}: {file.name} is a model alone, not a run to go on with; use init_from={path}.")
    kept = file.parent.parent / "config.yaml"
    begin_anew = f"or begin a new one with init_from={path}"
    said_there = f" ({kept} has them)" if kept.is_file() else ""
    ways_on = f"Give the options of that run{said_there}, {begin_anew}."
    if differing := _other_classes(checkpoint, task.model):
        raise ValueError(
            f"resume={path}: {differing} Give the data of that run, {begin_anew}, which takes classes by name."
        )
    if differing := _other_model(checkpoint, task.model):
        # What it was begun with may be why; a file that has only moved is not.
        behind = _begun_otherwise(checkpoint[ENTRY]["config"], _read(kept), config or {})
        raise ValueError(f"resume={path}: {behind}{differing} {ways_on}")
    if differing := _other_optimizer(checkpoint, task):
        raise ValueError(f"resume={path}: {differing} {ways_on}")
    if differing := _other_schedule(checkpoint, task, trainer.get("max_epochs")):
        raise ValueError(f"resume={path}: {differing} {ways_on}")
    said = [*_what_is_left(path, checkpoint, trainer), *_changes(checkpoint, task.model, data, trainer)]
    for each in said if is_first_process() else ():
        _log.warning("resume=%s: %s", path, each)
    return file


def _other_classes(checkpoint: Mapping[str, Any], model: DenseModel) -> str:
    theirs, ours = tuple(map(str, checkpoint[ENTRY]["config"].get("class_names", ()))), model.class_names
    if theirs == ours:
        return ""
    new, gone = [name for name in ours if name not in theirs], [name for name in theirs if name not in ours]
    if new or gone:
        parts = (("the run alone has", gone), ("the data alone have", new))
        said = "; ".join(f"{who} {listed(names)}" for who, names in parts if names)
        return f"its classes are not the data's: {said}."
    at = next(label for label, (one, other) in enumerate(zip(theirs, ours, strict=False)) if one != other)
    return (
        f"its classes have another order: label {at} is {theirs[at]!r} there and {ours[at]!r} in the data "
        f"({listed(theirs)}; {listed(ours)})."
    )


def _other_model(checkpoint: Mapping[str, Any], model: DenseModel) -> str:
    own, found = (
        {name: tensor.shape for name, tensor in weights.items()}
        for weights in (model.state_dict(), checkpoint[ENTRY]["weights"])
    )
    options = [
        f"{part}.{key}={value}, not {here[key]}"
        for part in ("backbone", "head")
        for there, here in [(checkpoint[ENTRY]["config"][part], model.config[part])]
        for key, value in there.items()
        if key in here and key not in _MAY_DIFFER and not _same(value, here[key])
    ]
    has = f"has {' and '.join(options)}" if options else ""
    if differing := sum(own.get(name) != found.get(name) for name in own.keys() | found.keys()):
        more = f": it {has}" if has else ""
        return f"its model is another one, {differing} of its tensors differ in name or shape{more}."
    # Padding, say, which weights belong to: those load into any, and what was learnt would be wrong without a word.
    return f"its model {has}." if has else ""


def _begun_otherwise(model: Mapping[str, Any], there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """How a message begins where models differ by what they were made from, which no model tells: weights, say.

    Args:
        model: the config of the run's model; what it has was compared.
        there: the config of the run, as far as it is known.
        here: that of the new one.
    """
    said = []
    for part in ("backbone", "head"):
        before, now = (config.get(part) for config in (there, here))
        if not isinstance(before, Mapping) or not isinstance(now, Mapping):
            continue
        for key in before:
            if key not in model[part] and key in now and not _same(before[key], now[key]):
                said.append(_otherwise(f"{part}.{key}", before[key], now[key]))
    return f"it was started {' and '.join(said)}; " if said else ""


def _otherwise(key: str, before: object, now: object) -> str:
    if before is None:
        return f"without {key}={now}"
    return f"with {key}={before}, " + ("which is not given here" if now is None else f"not {now}")


def _read(kept: Path) -> Mapping[str, Any]:
    """The config in a run's folder; nothing where it is not there or cannot be read."""
    try:
        content = config_now(read_yaml(kept))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


# Addresses may be those of version 0.1; the others choose among answers or colour them, or say how fast running
# statistics follow, which a run may learn on the way that it should change.
_MAY_DIFFER = {"_target_", "score_threshold", "nms_threshold", "candidates", "limit", "palette", "norm_momentum"}


def _other_optimizer(checkpoint: Mapping[str, Any], task: Task) -> str:
    saved = checkpoint["optimizer_states"][0]["param_groups"]
    optimizer = task.new_optimizer()
    kind, known = type(optimizer).__name__, checkpoint.get(RUN, {}).get("optimizer")
    there, here = (_options(groups) for groups in (saved, optimizer.param_groups))
    # Checkpoints of version 0.1 do not name it. Each kind has options that others lack; a newer torch only adds some.
    if known is None and there.keys() - here.keys() and here.keys() - there.keys():
        known = "another one"
    if known not in (None, kind):
        return f"its optimizer is {known}, not {kind}, and goes on from its own state."
    # Where part of the model is frozen, groups are missing, but none has a value of its own.
    agree = _same if len(saved) == len(optimizer.param_groups) else _are_among
    differing = [key for key in there if key in here and not agree(there[key], here[key])]
    if not differing:
        return ""
    said = " and ".join(f"{key}={_shown(there[key])}, not {_shown(here[key])}" for key in differing)
    return f"its optimizer has {said}."


# Not options, or of how a step is computed, which changes nothing of what it is.
_NOT_COMPARED = {"params", "initial_lr", "foreach", "fused", "capturable", "differentiable"}


def _options(groups: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Each option with its value in every group; the learning rate is that before the schedule."""
    options: dict[str, list[Any]] = {}
    for group in groups:
        for key, value in {**group, "lr": group.get("initial_lr", group["lr"])}.items():
            if key not in _NOT_COMPARED:
                options.setdefault(key, []).append(value)
    return options


def _are_among(values: Sequence[object], others: Sequence[object]) -> bool:
    return all(any(_same(value, other) for other in others) for value in values)


def _same(one: object, other: object) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    return one == other


def _shown(values: Sequence[object]) -> str:
    shown = (f"{value:g}" if isinstance(value, float) else str(value) for value in values)
    return "/".join(dict.fromkeys(shown))  # groups mostly have the same


def _other_schedule(checkpoint: Mapping[str, Any], task: Task, max_epochs: object) -> str:
    run = checkpoint.get(RUN, {})
    saved = checkpoint.get("lr_schedulers") or []
    if not saved or task.schedule is None:
        if bool(saved) == (task.schedule is not None):
            return ""
        return "it has a schedule, and none is given." if saved else "it has no schedule, and one is given."
    state = saved[0]["lr_lambdas"][0] or {}
    schedule = task.schedule(total_steps=int(state.get("total_steps", _most_steps(checkpoint))))
    known = run.get("schedule")
    if known not in (None, name_of(schedule)):
        return f"its schedule is {known}, not {name_of(schedule)}."
    if "total_steps" not in state:  # a function, or somebody's own: the file has nothing of it but the name
        return ""
    own = getattr(schedule, "__dict__", {})
    if own.keys() != state.keys():
        return f"its schedule is another one than {name_of(schedule)}."
    if run.get("max_epochs") != max_epochs:  # options that count epochs go by the length
        return ""
    differing = [key for key in state if not _same(state[key], own[key])]
    said = " and ".join(f"{key}={state[key]}, not {own[key]}" for key in differing)
    return f"its schedule has {said}." if differing else ""


def _most_steps(checkpoint: Mapping[str, Any]) -> int:
    """Optimiser steps that the run was to have at most, for schedules that do not say."""
    run = checkpoint.get(RUN, {})
    images = int(run.get("epoch_length") or run.get("images") or 0)
    epochs, batch_size = (int(run.get(key) or 0) for key in ("max_epochs", "batch_size"))
    return max(1, int(checkpoint["global_step"]), epochs * images // max(1, batch_size))


def _what_is_left(path: str, checkpoint: Mapping[str, Any], trainer: Mapping[str, Any]) -> Iterator[str]:
    """A line where nothing is left to train; a length that is behind the run already is refused."""
    epoch, _ = place_of(checkpoint)
    epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps", -1)
    done = f"{epoch} epoch{'' if epoch == 1 else 's'}"
    if isinstance(epochs, int) and 0 < epochs < epoch:
        raise ValueError(
            f"resume={path}: {done} are done, more than trainer.max_epochs={epochs}. Set trainer.max_epochs="
            f"{epoch + 1} or more to train on; what is there is scored by tools/evaluate.py checkpoint={path}."
        )
    if isinstance(epochs, int) and epochs == epoch:
        more = f"trainer.max_epochs={epoch + 1}"
    elif isinstance(steps, int) and 0 < steps <= int(checkpoint["global_step"]):
        done, more = f"{checkpoint['global_step']} steps", f"trainer.max_steps={checkpoint['global_step'] + 1}"
    else:
        return
    yield (
        f"all {done} are done, so nothing is trained and its best checkpoint is scored. To train on, set {more} or "
        "more."
    )


def _changes(
    checkpoint: Mapping[str, Any], model: DenseModel, data: DataModule, trainer: Mapping[str, Any]
) -> Iterator[str]:
    """What is otherwise than in the part before, and what that does."""
    run, config = checkpoint.get(RUN, {}), checkpoint[ENTRY]["config"]
    if list(config.get("size", model.size)) != list(model.size):
        yield (
            f"model.size={_sides(model.size)}, {_sides(config['size'])} before: what was learnt goes on at the new "
            "size; the best score so far is of the old one, and best.ckpt is only replaced where it is beaten."
        )
    if config.get("resize", model.resize) != model.resize:
        yield f"model.resize={model.resize}, {config['resize']} before: objects have another shape from here on."
    for part in ("backbone", "head"):
        before, now = (each[part].get("norm_momentum") for each in (config, model.config))
        if before is not None and not _same(before, now):
            yield f"{part}.norm_momentum={now}, {before} before: running statistics follow the batches at another pace."
    accumulated = trainer.get("accumulate_grad_batches", 1)
    for key, value, effect in (
        ("data.batch_size", data.batch_size, "optimizer.lr stays as it was for the old one"),
        ("trainer.accumulate_grad_batches", accumulated, "optimizer.lr stays as it was for the old number"),
        ("seed", data.seed, "images come in another order and with other changes"),
    ):
        before = run.get(key.rpartition(".")[2])
        if before is not None and before != value:
            yield f"{key}={value}, {before} before: {effect}. {_NOT_EXACT}"
    # Runs of versions that had none of these are compared as if they had been without.
    if (before := run.get("repeat_threshold")) != (now := data.repeat_threshold):
        yield (
            f"data.repeat_threshold={_null(now)}, {_null(before)} before: an epoch has {data.epoch_length:,} images "
            f"from here on. {_NOT_EXACT}"
        )
    if (before := [tuple(size) for size in run.get("train_sizes", ())]) != list(data.train_sizes):
        now, was = ("".join(_sides(size) for size in sizes) or "none" for sizes in (data.train_sizes, before))
        yield f"data.train_sizes: {now}, {was} before: batches have other sizes from here on. {_NOT_EXACT}"
    if (before := run.get("views")) != (now := data.views):
        yield f"data.views={_null(now)}, {_null(before)} before: images have other views from here on. {_NOT_EXACT}"
    switches = {"data.reduced_decode": ("reduced_decode", data.reduced_decode)}
    if data.reduced_decode and isinstance(data.train, OpensImages):  # what is kept is never decoded reduced
        switches["data.cache"] = ("cached", data.cached)
    for name, (entry, on) in switches.items():
        # Without a plan images are augmented whole, as ever.
        if isinstance(data.augment, PlanningAugment) and (then := run.get(entry, False)) != on:
            yield (
                f"{name} is {_switch(on)}, {_switch(then)} before: training images differ in rounding from here on. "
                f"{_NOT_EXACT}"
            )
    if "blocks" in run and run["blocks"] != blocks_of(data.train):
        yield f"the images lie in other shards, or others of them are mixed: another order from here on. {_NOT_EXACT}"
    images, before = len(data.train or ()), run.get("images")
    if before and images != before:
        yield f"{images:,} images to learn from, {before:,} before: an epoch is another one from here on. {_NOT_EXACT}"


_NOT_EXACT = "The run is not to the bit what it would have been."


def _switch(on: bool) -> str:
    return "on" if on else "off"


def _null(value: object) -> object:
    """As it is typed."""
    return "null" if value is None else value


def _sides(size: Sequence[int]) -> str:
    return f"[{size[0]},{size[1]}]"
