"""Wrong labels, found by models that have not learnt from them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.doctor.folds import folds
from mnv2dense.doctor.held_out import USUAL, Schedule
from mnv2dense.doctor.memory_need import bytes_needed, parts_for
from mnv2dense.doctor.together import Together
from mnv2dense.inference.open_model import open_model
from mnv2dense.utils.memory import free_megabytes
from mnv2dense.workflows.label_searches import SEARCHES, Folds, Told, counted_by, mask_size

if TYPE_CHECKING:
    from mnv2dense.doctor.suspect import Suspect
    from mnv2dense.protocols import Dataset, Model

_log = logging.getLogger(__name__)

# Images of which something can be learnt at all.
_LEAST = 5


class OutOfFold(NamedTuple):
    """How wrong labels are looked for.

    Attributes:
        weights: pretrained MobileNetV2, as ``backbone.weights=`` takes it; None has random ones, which see little.
        parts: folds of which a head each is trained on the others.
        class_parts: the same for the classifiers of crops, which take a second each; of fewer images as many as these.
        size: (height, width) of the input, pixels; None takes 320 x 320 for boxes, 224 x 224 for classes of whole
            images, and for masks the first image's size up to 512 pixels.
        crop_px: side of the crops that classes are learnt from.
        schedule: of the heads' training, but for that of shifted boxes, which has its own.
        seed: of folds, weights and order.
        device: of torch; "auto" is a GPU where there is one.
    """

    weights: str | Path | None = "imagenet"
    parts: int = 3
    class_parts: int = 10
    size: tuple[int, int] | None = None
    crop_px: int = 128
    schedule: Schedule = USUAL
    seed: int = 0
    device: str = "auto"


def wrong_labels(
    data: Mapping[str, Dataset] | Dataset,
    *,
    task: str,
    options: OutOfFold = OutOfFold(),  # noqa: B008 - a tuple of constants
    model: Model | str | Path | None = None,
    groups: npt.NDArray[np.int64] | None = None,
    told: Told = lambda job, done, total: None,
) -> list[Suspect]:
    """Objects, masks or images whose labels are probably wrong, each kind with the surest first.

    A pretrained backbone sees every image once. Small heads learn from what it saw, each on all folds but one, and
    judge the labels of that one; splits are put together, for more to learn from. Images that cannot be read, and those
    whose labels are refused, are left out: all are read once before. Where more than half of the free memory would be
    needed, images are searched in parts, each by what its own others teach.

    Args:
        data: splits of a data set by name, or one of them; of all the same classes.
        task: "detection", "segmentation" or "classification".
        options: of the search.
        model: a trained model, run or exported file that judges in place of the heads. It must not have learnt from
            ``data``: give its validation split alone. Classes of boxes are still learnt from their crops.
        groups: of all images, in the order of the splits: those of a number share a fold (:func:`folds`).
        told: for a progress bar.

    Raises:
        ValueError: another task, a model of other classes, or too few images for the folds.
        FileNotFoundError: no such weights or model.
    """
    together = Together(tuple(data.values()) if isinstance(data, Mapping) else (data,))
    if task not in SEARCHES:
        raise ValueError(f"task={task!r}: wrong labels are looked for in {', '.join(SEARCHES)}.")
    judge = open_model(model, device=options.device) if isinstance(model, str | Path) else model
    if judge is not None and (judge.task != task or judge.class_names != together.class_names):
        raise ValueError(
            f"model: {judge.name} is for {judge.task} of {len(judge.class_names)} classes, and the data for {task} of "
            f"{len(together.class_names)}; give a model of the same task and classes, or none."
        )
    if groups is not None and len(groups) != len(together):
        raise ValueError(f"groups has {len(groups)} numbers for {len(together)} images; give one for each.")
    together = together.readable(counted_by(told, "reading images", len(together)))
    least = max(_LEAST, options.parts)
    if len(together) < least:
        raise ValueError(
            f"{len(together)} images can be read with their labels: too few to look for wrong labels, which takes "
            f"{least} at least and hundreds to be of use."
        )
    own = np.arange(len(together)) if groups is None else np.asarray(groups)[together.places]
    part_of = _part_of(together, task, options, own, least, by_model=judge is not None)
    found = []
    for part in np.unique(part_of).tolist():
        kept = part_of == part
        by_heads, by_crops = (
            folds(int(kept.sum()), parts, groups=own[kept], seed=options.seed)
            for parts in (options.parts, min(options.class_parts, len(np.unique(own[kept]))))
        )
        found += SEARCHES[task](together.chosen(kept), options, judge, Folds(by_heads, by_crops), told)
    return sorted(found, key=lambda suspect: -suspect.score)


def _part_of(
    data: Together, task: str, options: OutOfFold, groups: npt.NDArray[np.int64], least: int, *, by_model: bool
) -> npt.NDArray[np.int64]:
    """Which part of the search each image is in: all in one, unless memory is short."""
    size = options.size or (mask_size(data) if task == "segmentation" else (320, 320))
    needed = bytes_needed(task, len(data), int(data.objects.sum()), size, len(data.class_names), by_model=by_model)
    free = free_megabytes()
    parts = min(parts_for(needed, free), len(np.unique(groups)) // least)
    part_of = np.zeros(len(data), np.int64)
    while parts > 1:
        found = folds(len(data), parts, groups=groups, seed=options.seed)
        if min(len(np.unique(groups[found == part])) for part in range(parts)) >= least:
            part_of = found
            break
        parts -= 1  # a large group may fill a part, with nothing to learn from
    if parts > 1 and free is not None:
        _log.warning(
            "%s images need %.1f GB of memory, and %.1f GB are free: they are searched in %d parts, each by what the "
            "others of its part teach.",
            *(f"{len(data):,}", needed / 1e9, free * 2**20 / 1e9, parts),
        )
    return part_of
