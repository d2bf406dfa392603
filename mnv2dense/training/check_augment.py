"""Whether an augmentation fits the data and follows its seed, asked before a run that promises to be repeatable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mnv2dense.data.check_sample import check_sample
from mnv2dense.data.sampler import Draw, seed_of
from mnv2dense.protocols import BoxDataset, JoinedData, MixingAugment
from mnv2dense.training import random_state

if TYPE_CHECKING:
    from mnv2dense.data.module import DataModule
    from mnv2dense.protocols import Augment, Dataset
    from mnv2dense.types import Sample

# What is done to every second image goes unseen once in 256 runs.
_TRIES = 8


def check_augment(data: DataModule) -> None:
    """Augment the first training image twice by each of a few seeds, by an augmentation of another package.

    The global generators of random numbers are left as they are.

    Raises:
        ValueError: the two differ, so that no run could be repeated, or resumed as it would have gone on; or the
            augmented sample is none; or our own would mix images that have more truth than boxes.
    """
    augment, dataset = data.augment, data.train
    if augment is None or not dataset:
        return
    if getattr(augment, "mixes", False) and isinstance(dataset, JoinedData):
        others = [name for name, part in dataset.parts.items() if not isinstance(part, BoxDataset)]
        if others:
            raise ValueError(
                f"augment: mosaics, pasting and mixup are for boxes alone, but the data has {', '.join(others)} too. "
                "Set augment.mosaic_probability, copy_paste_probability and mixup_probability to 0."
            )
    if type(augment).__module__.partition(".")[0] == "mnv2dense":
        return
    generators = random_state.capture()
    try:
        for epoch in range(_TRIES):
            seed = seed_of(data.seed, Draw(epoch, 0))
            first, second = (_view(augment, dataset, seed) for _ in range(2))
            check_sample(first, len(data.class_names), of=augment)
            if (part := _difference(first, second)) is not None:
                name = getattr(augment, "__name__", type(augment).__name__)
                raise ValueError(
                    f"augment: {name} gave two samples of other {part} for one image and seed={seed}, so no run could "
                    "be repeated or resumed. Draw from np.random.default_rng(seed), not from a global generator or one "
                    "that is kept, and change a copy of the sample."
                )
    finally:
        random_state.restore(generators)


def _view(augment: Augment, dataset: Dataset, seed: int) -> Sample:
    """Of the first image, mixed with others where the augmentation does that."""
    sample = dataset[0]
    if isinstance(augment, MixingAugment) and (partners := augment.partners(seed, len(dataset))):
        sample = augment.mix(sample, [dataset[partner] for partner in partners], seed)
    return augment(sample, seed)


def _difference(one: Sample, other: Sample) -> str | None:
    """The first field of samples whose arrays are not the same."""
    for part in ("image", "boxes", "labels", "mask"):
        if not np.array_equal(getattr(one, part), getattr(other, part)):
            return part
    return None
