"""A recipe that fits the data: how long, how fast and how large to train, from what a data set and its batches count.

What stands in conf/ is right for tens of thousands of images. On two hundred, an average over 5,000 steps is one of
nothing, and batch norms that follow a batch by 0.003 still say in the end what they said of ImageNet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mnv2dense.data.datasets.box_table import BoxTable
from mnv2dense.protocols import BoxDataset, Dataset, JoinedData

# Of few images each is seen more often than conf/trainer has it, views of the same one counted each.
_IMAGES_SEEN = 36_000
_FEWEST_EPOCHS, _MOST_EPOCHS = 60, 200
_VALIDATIONS = 20

# The averaged weights look back over this share of the run; conf/callbacks has 5,000 steps, which is the most.
_AVERAGED = 0.1
_SLOWEST_DECAY = 0.9998

# So many times a batch norm's memory fits into the run; TensorFlow's momentum is the least, torch's the most.
_MEMORIES = 36
_LEAST_MOMENTUM, _MOST_MOMENTUM = 0.003, 0.1

_WARMUP_STEPS = 100
_USUAL_WARMUP = 0.05
_LONGEST_WARMUP = 0.2

# Of a backbone that knows something already, against a head that does not.
_BACKBONE_FACTOR = 0.3

# AdamW's, with the batch that it is for. Adam's noise goes by the root of the batch (Malladi et al. 2022).
_RATE, _BATCH = 0.001, 16

# Zooming out makes objects smaller, which a model has to have seen a lot for it to pay.
_ZOOM_OUT, _MANY_SEEN = 0.2, 200_000

# Side of a square input, pixels, and the side that three of four objects should have in it.
_SIDES = (320, 416, 512)
_SEEN_SIDE = 16


@dataclass(frozen=True)
class Facts:
    """What a recipe goes by.

    Attributes:
        task: "detection", "segmentation", "classification" or "joint".
        images: that an epoch draws, on all processes together.
        batch: images of an optimiser step, on all processes together.
        pretrained: the backbone begins with weights.
        epochs: of the run, where somebody has said; else None.
        batches_of_step: in each process; batch norms follow every one of them.
        rate_factor: how much higher a rate the head wants than SSDLite.
        object_sides: the root of each object's share of its image's area, 0..1; empty where there are no boxes.
    """

    task: str
    images: int
    batch: int
    pretrained: bool
    epochs: int | None = None
    batches_of_step: int = 1
    rate_factor: float = 1.0
    object_sides: Sequence[float] = ()


@dataclass(frozen=True)
class Choice:
    """One option of conf/train.yaml, what it is set to, and why, in a few words for people."""

    option: str
    value: object
    why: str


# All that a recipe may set; a run that goes on takes these as it began with them.
OPTIONS = (
    "trainer.max_epochs",
    "trainer.check_val_every_n_epoch",
    "callbacks.ema.decay",
    "backbone.norm_momentum",
    "head.norm_momentum",
    "schedule.warmup",
    "optimizer.lr",
    "backbone_lr_factor",
    "augment.zoom_out_probability",
    "model.size",
)


def recipe_for(facts: Facts) -> tuple[Choice, ...]:
    """What fits; options of parts that a run has not are for the caller to leave out.

    Raises:
        ValueError: no images, or a batch of none.
    """
    if facts.images < 1 or facts.batch < 1:
        raise ValueError(f"a recipe needs images, and batches of them: got {facts.images} and {facts.batch}.")
    # As the loader counts: an incomplete batch is left out, unless it is the only one.
    steps_of_epoch = max(1, facts.images // facts.batch)
    choices = []
    epochs = facts.epochs
    if epochs is None:
        epochs = min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, math.ceil(_IMAGES_SEEN / facts.images)))
        seen = epochs * facts.images
        choices.append(Choice("trainer.max_epochs", epochs, f"{seen:,} images seen, views of the same one included"))
    steps = max(1, epochs) * steps_of_epoch
    every = max(1, epochs // _VALIDATIONS)
    choices.append(Choice("trainer.check_val_every_n_epoch", every, f"about {math.ceil(epochs / every)} validations"))
    window = max(1.0, _AVERAGED * steps)
    decay = min(_SLOWEST_DECAY, float(f"{1 - 1 / max(2.0, window):.4f}"))
    choices.append(
        Choice("callbacks.ema.decay", decay, f"weights averaged over about {1 / (1 - decay):,.0f} steps of {steps:,}")
    )
    momentum = float(f"{min(_MOST_MOMENTUM, max(_LEAST_MOMENTUM, _MEMORIES / (steps * facts.batches_of_step))):.2g}")
    said = f"running statistics follow within {1 / momentum:,.0f} batches"
    choices += [Choice(f"{part}.norm_momentum", momentum, said) for part in ("backbone", "head")]
    warmup = float(f"{min(_LONGEST_WARMUP, max(_USUAL_WARMUP, _WARMUP_STEPS / steps)):.2g}")
    choices.append(
        Choice("schedule.warmup", warmup, f"the whole rate is reached after step {max(1, round(warmup * steps)):,}")
    )
    if facts.batch != _BATCH or facts.rate_factor != 1:
        rate = float(f"{_RATE * facts.rate_factor * math.sqrt(facts.batch / _BATCH):.2g}")
        own = "" if facts.rate_factor == 1 else f", and {facts.rate_factor:g} times that for this head"
        choices.append(Choice("optimizer.lr", rate, f"{_RATE} times the root of {facts.batch} / {_BATCH} images{own}"))
    if facts.pretrained:
        factor = float(f"{_BACKBONE_FACTOR / facts.rate_factor:.2g}")
        choices.append(Choice("backbone_lr_factor", factor, "the backbone knows something, the head does not"))
    if facts.task in ("detection", "joint") and epochs * facts.images < _MANY_SEEN:
        choices.append(Choice("augment.zoom_out_probability", _ZOOM_OUT, "small objects are not made smaller so often"))
    if len(facts.object_sides):
        choices.append(_size(np.asarray(facts.object_sides, np.float64)))
    return tuple(choices)


def object_sides(dataset: Dataset) -> Sequence[float]:
    """Of every object the root of its share of its image's area, without regions to ignore; none of other data.

    Of joined data those of all parts.
    """
    if isinstance(dataset, JoinedData):
        return [side for part in dataset.parts.values() for side in object_sides(part)]
    if isinstance(dataset, BoxTable):
        return dataset.object_sides()  # without a dictionary for each of a million boxes
    if not isinstance(dataset, BoxDataset):
        return []
    truth = dataset.coco_ground_truth()
    areas = {image["id"]: image["width"] * image["height"] for image in truth["images"]}
    boxes = ((each["bbox"], areas[each["image_id"]]) for each in truth["annotations"] if not each["iscrowd"])
    return [math.sqrt(max(0.0, box[2] * box[3]) / area) for box, area in boxes]


def _size(sides: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Choice:
    quarter = float(np.quantile(sides, 0.25))
    side = next((side for side in _SIDES if side * quarter >= _SEEN_SIDE), _SIDES[-1])
    costs = (side / _SIDES[0]) ** 2
    said = f"three of four objects are {side * quarter:.0f} pixels or more there"
    return Choice(
        "model.size", [side, side], said if costs == 1 else f"{said}, for {costs:.1f} times the cost of 320x320"
    )
