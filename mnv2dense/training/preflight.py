"""What would stop a run hours later, said before it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mnv2dense.utils.numbers import is_number, is_whole
from mnv2dense.utils.suggest import did_you_mean

if TYPE_CHECKING:  # what a config alone shows is told before torch is loaded
    from mnv2dense.data.module import DataModule
    from mnv2dense.models.dense_model import DenseModel
    from mnv2dense.protocols import Metric


def check_length(trainer: Mapping[str, Any]) -> None:
    """A schedule spans the run, so the run has to have a length.

    Raises:
        ValueError: neither ``max_epochs`` nor ``max_steps`` of the trainer's options says one, or not in whole numbers.
    """
    epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps", -1)
    for key, count in (("max_epochs", epochs), ("max_steps", steps)):
        if count is not None and not is_whole(count):
            raise ValueError(f"trainer.{key}={count}: a whole number is needed, as in trainer.{key}=50.")
    if isinstance(epochs, int) and epochs < 1 and steps < 1:
        raise ValueError(f"trainer.max_epochs={epochs}: train for at least 1 epoch; schedules span the whole run.")


def check_seed(seed: object) -> None:
    """What numpy takes, too; anything else could not be repeated.

    Raises:
        ValueError: no whole number of 32 bits.
    """
    if not is_whole(seed) or not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed}: give a whole number from 0 to {2**32 - 1}, so that the run can be repeated.")


def check_fit(model: DenseModel, datamodule: DataModule) -> None:
    """A model learns under its own names, and at the size at which it will be used.

    Raises:
        ValueError: the data has other classes or another order, or gives images of another size or resized otherwise.
            Labels are numbers: it would all train without a word, and answer with the wrong names and places.
    """
    if (theirs := tuple(datamodule.class_names)) != (ours := model.class_names):
        at = next((k for k, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other), None)
        where = "" if at is None else f"; label {at} is {ours[at]!r} in the model and {theirs[at]!r} in the data"
        raise ValueError(
            f"The model has {len(ours)} classes and the data {len(theirs)}{where}. Make the model with "
            "class_names=data.class_names."
        )
    for option, own, given in (
        ("size", tuple(model.size), tuple(datamodule.size)),
        ("resize", model.resize, datamodule.resize),
    ):
        if own != given:
            raise ValueError(
                f"The data has {option}={given!r}, but the model {option}={own!r}, which is how it is used after "
                f"training: give the data {option}=model.{option}."
            )


def check_batches(trainer: Mapping[str, Any], datamodule: DataModule) -> None:
    """A share of the batches, or a number of them, has to leave some to learn from.

    Lightning passes over a training without batches, and refuses a share of validation only when its turn comes.

    Raises:
        ValueError: ``limit_train_batches`` or ``limit_val_batches`` of the trainer's options leaves none.
    """
    for key, dataset in (("limit_train_batches", datamodule.train), ("limit_val_batches", datamodule.val)):
        limit = trainer.get(key)
        if not is_number(limit) or not dataset:
            continue
        images = datamodule.epoch_length if key == "limit_train_batches" else len(dataset)
        if limit == 0 and key == "limit_train_batches":
            raise ValueError(f"trainer.{key}=0: nothing would be learnt from; leave it out, or give 1 or more.")
        # An epoch's last batch is left out of training where it is incomplete, and scored in validation.
        rest = key == "limit_val_batches" and images % datamodule.batch_size > 0
        batches = max(1, images // datamodule.batch_size + rest)
        if isinstance(limit, float) and 0 < limit * batches < 1:
            raise ValueError(
                f"trainer.{key}={limit}: of {batches} batches that is less than one; give a larger share, or a whole "
                f"number of batches, as in trainer.{key}=1."
            )


def check_precision(precision: str | int | None) -> None:
    """Training needs float32 beside whatever the network computes in.

    Raises:
        ValueError: a precision that rounds all of the model and the batch: anchors and true boxes of 320 pixels would
            come in steps of 1 to 2 in bfloat16, and batch norm's statistics would stand still.
    """
    if str(precision) in ("bf16-true", "16-true", "transformer-engine", "transformer-engine-float16"):
        mixed = "16-mixed" if str(precision) == "16-true" else "bf16-mixed"
        raise ValueError(
            f"trainer.precision={precision} would round boxes, anchors and batch norm's statistics too, to steps of "
            f"1 to 2 pixels; trainer.precision={mixed} is as fast and keeps those in float32."
        )


def check_monitor(monitor: str, metric: Metric, datamodule: DataModule, *, curves: Sequence[str] = ()) -> None:
    """Ask the metric what it will score; a misspelt name would else show after the first epoch.

    Raises:
        ValueError: ``monitor`` is neither one of them nor ``loss``, or one of ``curves`` is none of them; or the metric
            calls one "loss", which is logged beside them.
    """
    if datamodule.val is None:
        return
    from mnv2dense.metrics.watched import score_names  # with torch

    named = score_names(metric, datamodule.val)
    if "loss" in named:
        raise ValueError(
            f'metric: {type(metric).__name__} calls a score "loss", as what is minimised is called; '
            "give it another name."
        )
    scores = ["loss", *named]
    asked = [("monitor", monitor), *(("curves", name) for name in curves)]
    for key, name in ((key, name) for key, name in asked if name not in scores):
        meant = did_you_mean(name, scores, before=f"{key}=")
        # Of single classes there may be a thousand; an example says how they are called.
        shown = [score for score in scores if "/" not in score]
        of_class = next((score for score in scores if "/" in score), None)
        choice = ", ".join(shown) + (f", or one class: {of_class}" if of_class else "")
        raise ValueError(f"{key}={name}: there is no such score{meant} Choose from {choice}.")
