"""Wrong labels, found by models that have not learnt from them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mnv2dense.backbones import MobileNetV2
from mnv2dense.doctor.class_context import with_context
from mnv2dense.doctor.crops import CropFeatures
from mnv2dense.doctor.folds import folds
from mnv2dense.doctor.frozen import boxes_of, frozen_features, true_boxes
from mnv2dense.doctor.held_out import USUAL, Schedule, out_of_fold_boxes, out_of_fold_pixels
from mnv2dense.doctor.judged_by_model import batches, found_by, pixels_by
from mnv2dense.doctor.linear_probe import out_of_fold_probabilities
from mnv2dense.doctor.memory_need import bytes_needed, parts_for
from mnv2dense.doctor.neighbours import without_neighbours
from mnv2dense.doctor.suspects_of_boxes import (
    missing_box_suspects,
    shifted_box_suspects,
    wrong_class_suspects,
)
from mnv2dense.doctor.suspects_of_masks import image_class_suspects, mask_suspects
from mnv2dense.doctor.together import Seen, Together
from mnv2dense.doctor.wrong_boxes import missing_boxes, shifted_boxes
from mnv2dense.doctor.wrong_classes import doubt_classes
from mnv2dense.inference.open_model import open_model
from mnv2dense.metrics.box_columns import FoundBoxes
from mnv2dense.models.backbone import mobilenet_v2
from mnv2dense.ops.resize import ResizeMode, resize_mask
from mnv2dense.types import IGNORE_LABEL, Sample
from mnv2dense.utils.device import device_of
from mnv2dense.utils.memory import free_megabytes

if TYPE_CHECKING:
    from mnv2dense.doctor.suspect import Suspect
    from mnv2dense.protocols import Dataset, Model

_log = logging.getLogger(__name__)

Told = Callable[[str, int, int], None]
"""What is done now, how much of it is done, and how much it is."""

# Images of which something can be learnt at all.
_LEAST = 5

# Found boxes that are looked at a second time, to say which class they would be of.
_NAMED_AT_MOST = 500


class OutOfFold(NamedTuple):
    """How wrong labels are looked for.

    Attributes:
        weights: pretrained MobileNetV2, as ``backbone.weights=`` takes it; None has random ones, which see little.
        parts: folds of which a head each is trained on the others.
        class_parts: the same for the classifiers of crops, which take a second each; of fewer images as many as these.
        size: (height, width) of the input, pixels; None takes 320 x 320 for boxes, 224 x 224 for classes of whole
            images, and for masks the first image's size up to 512 pixels.
        crop_px: side of the crops that classes are learnt from.
        schedule: of the heads' training.
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
    searches: dict[str, Callable[..., list[Suspect]]] = {
        "detection": _wrong_boxes,
        "segmentation": _wrong_masks,
        "classification": _wrong_images,
    }
    if task not in searches:
        raise ValueError(f"task={task!r}: wrong labels are looked for in {', '.join(searches)}.")
    judge = open_model(model, device=options.device) if isinstance(model, str | Path) else model
    if judge is not None and (judge.task != task or judge.class_names != together.class_names):
        raise ValueError(
            f"model: {judge.name} is for {judge.task} of {len(judge.class_names)} classes, and the data for {task} of "
            f"{len(together.class_names)}; give a model of the same task and classes, or none."
        )
    if groups is not None and len(groups) != len(together):
        raise ValueError(f"groups has {len(groups)} numbers for {len(together)} images; give one for each.")
    together = together.readable(_counted(told, "reading images", len(together)))
    least = max(_LEAST, options.parts)
    if len(together) < least:
        raise ValueError(
            f"{len(together)} images can be read with their labels: too few to look for wrong labels, which takes "
            f"{least} at least and hundreds to be of use."
        )
    own = np.arange(len(together)) if groups is None else np.asarray(groups)[together.places]
    part_of = _part_of(together, task, options, own, least)
    found = []
    for part in np.unique(part_of).tolist():
        kept = part_of == part
        by_heads, by_crops = (
            folds(int(kept.sum()), parts, groups=own[kept], seed=options.seed)
            for parts in (options.parts, min(options.class_parts, len(np.unique(own[kept]))))
        )
        found += searches[task](together.chosen(kept), options, judge, Folds(by_heads, by_crops), told)
    return sorted(found, key=lambda suspect: -suspect.score)


def _part_of(
    data: Together, task: str, options: OutOfFold, groups: npt.NDArray[np.int64], least: int
) -> npt.NDArray[np.int64]:
    """Which part of the search each image is in: all in one, unless memory is short."""
    size = options.size or (_at_most(data[0].image.shape[:2], 512) if task == "segmentation" else (320, 320))
    needed = bytes_needed(task, len(data), int(data.objects.sum()), size, len(data.class_names))
    free = free_megabytes()
    parts = min(parts_for(needed, free), len(np.unique(groups)) // least)
    if parts < 2 or free is None:
        return np.zeros(len(data), np.int64)
    _log.warning(
        "%s images need %.1f GB of memory, and %.1f GB are free: they are searched in %d parts, each by what the "
        "others of its part teach.",
        *(f"{len(data):,}", needed / 1e9, free * 2**20 / 1e9, parts),
    )
    return folds(len(data), parts, groups=groups, seed=options.seed)


class Folds(NamedTuple):
    """The fold of each image: of those that heads judge, and of those that classifiers of crops do."""

    heads: npt.NDArray[np.int64]
    crops: npt.NDArray[np.int64]


def _wrong_boxes(data: Together, options: OutOfFold, model: Model | None, fold_of: Folds, told: Told) -> list[Suspect]:
    crops = CropFeatures(_backbone(options, "stride16", "last_conv"), size_px=options.crop_px)
    seen, features = Seen(data.class_names), [np.zeros((0, crops.length), np.float32)]

    def look(place: int, sample: Sample) -> None:
        seen.add(sample)
        assert sample.boxes is not None
        assert sample.labels is not None
        features.append(crops(sample.image, sample.boxes[sample.labels != IGNORE_LABEL]))

    counted = _counted(told, "looking at images", len(data))
    found: FoundBoxes
    if model is None:
        backbone = _backbone(options, "stride8", "stride16", "last_bottleneck")
        frozen = frozen_features(backbone, data, size=options.size or (320, 320), look=look, advance=counted)
        truth = boxes_of(seen.samples)
        found = out_of_fold_boxes(
            frozen,
            truth,
            fold_of.heads,
            schedule=options.schedule,
            seed=options.seed,
            device=device_of(options.device),
            advance=_counted(told, "learning what objects are", _steps(len(data), options)),
        )
        del frozen
    else:
        found = found_by(model, data, look, counted)
        truth = boxes_of(seen.samples)
    missing = missing_boxes(found, truth)
    named = missing.rows[:_NAMED_AT_MOST]
    features.append(_features_at(data, crops, found, named))
    objects = np.flatnonzero(~truth.crowds)
    rows = np.concatenate(features)
    features.clear()
    labels = np.concatenate([truth.labels[objects], np.full(len(named), -1)])
    places = np.concatenate([truth.images[objects], np.sort(found.images[named], kind="stable")])
    said = out_of_fold_probabilities(
        rows,
        labels,
        fold_of.crops[places],
        classes=len(data.class_names),
        advance=_counted(told, "learning what classes look like", 2 * len(np.unique(fold_of.crops))),
    )
    proposed = np.full(len(missing.rows), -1)
    proposed[np.argsort(found.images[named], kind="stable")] = said[len(objects) :].argmax(axis=1)
    images = seen.named
    suspects = []
    if len(data.class_names) > 1:
        own = true_boxes(len(data), truth.images[objects], truth.corners[objects], truth.labels[objects])
        doubts = doubt_classes(own.labels, with_context(without_neighbours(said[: len(objects)], own), own))
        suspects += wrong_class_suspects(images, truth, objects, doubts)
    return [
        *suspects,
        *shifted_box_suspects(images, truth, shifted_boxes(found, truth)),
        *missing_box_suspects(images, found, missing, proposed, objects=len(objects)),
    ]


def _wrong_masks(data: Together, options: OutOfFold, model: Model | None, fold_of: Folds, told: Told) -> list[Suspect]:
    first = data[0].image.shape[:2]
    size = options.size or _at_most(first, 512)
    seen, masks = Seen(data.class_names), []
    height, width = size if model is None else model.size
    grid, mode = (-(-height // 8), -(-width // 8)), "squash" if model is None else model.resize

    def look(place: int, sample: Sample) -> None:
        seen.add(sample._replace(mask=None))
        masks.append(_on_grid(sample, grid, mode))

    counted = _counted(told, "looking at images", len(data))
    if model is None:
        backbone = _backbone(options, "stride8", "last_bottleneck", output_stride=16)
        frozen = frozen_features(backbone, data, size=size, look=look, advance=counted)
        said = out_of_fold_pixels(
            frozen,
            torch.stack(masks),
            fold_of.heads,
            classes=len(data.class_names),
            schedule=options.schedule,
            seed=options.seed,
            device=device_of(options.device),
            advance=_counted(told, "learning what regions look like", _steps(len(data), options)),
        )
        infos = frozen.infos
    else:
        said, infos, size = *pixels_by(model, data, grid, look, counted), model.size
    return mask_suspects(seen.named, torch.stack(masks), said, infos, size)


def _wrong_images(data: Together, options: OutOfFold, model: Model | None, fold_of: Folds, told: Told) -> list[Suspect]:
    seen = Seen(data.class_names)
    counted = _counted(told, "looking at images", len(data))
    if model is None:
        side = max(options.size or (224, 224))
        whole = CropFeatures(_backbone(options, "stride16", "last_conv"), size_px=side, context=1.0)
        features = []
        for place in range(len(data)):
            sample = data[place]
            seen.add(sample)
            height, width = sample.image.shape[:2]
            features.append(whole(sample.image, np.array([[0, 0, width, height]], np.float32)))
            counted(1)
        labels = _classes_of(seen.samples)
        told_of = _counted(told, "learning what classes look like", 2 * len(np.unique(fold_of.crops)))
        rows = np.concatenate(features)
        features.clear()
        said = out_of_fold_probabilities(rows, labels, fold_of.crops, classes=len(data.class_names), advance=told_of)
    else:
        answers = batches(model, data, lambda place, sample: seen.add(sample), counted)
        said = np.concatenate([model.decoded(images).float().cpu().numpy() for images, _ in answers])
        labels = _classes_of(seen.samples)
    return image_class_suspects(seen.named, labels, doubt_classes(labels, said))


def _backbone(options: OutOfFold, *features: str, output_stride: int = 32) -> MobileNetV2:
    built = mobilenet_v2(features=features, weights=options.weights, output_stride=output_stride).eval()
    return built.to(device_of(options.device), memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _features_at(
    data: Together, crops: CropFeatures, found: FoundBoxes, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Of found boxes, ordered by their images."""
    places = found.images[rows]
    features = [np.zeros((0, crops.length), np.float32)]
    for place in np.unique(places).tolist():
        features.append(crops(data[place].image, found.boxes[rows[places == place]]))
    return np.concatenate(features)


def _on_grid(sample: Sample, grid: tuple[int, int], mode: ResizeMode) -> Tensor:
    """The mask as its image is resized, one cell for each of the probabilities."""
    assert sample.mask is not None
    return resize_mask(torch.from_numpy(np.ascontiguousarray(sample.mask)), grid, mode)


def _classes_of(samples: Sequence[Sample]) -> npt.NDArray[np.int64]:
    return np.array([-1 if sample.labels is None else int(sample.labels[0]) for sample in samples], np.int64)


def _at_most(size: Sequence[int], limit: int) -> tuple[int, int]:
    scale = min(1.0, limit / max(size))
    height, width = (max(32, round(side * scale / 8) * 8) for side in size)
    return height, width


def _steps(images: int, options: OutOfFold) -> int:
    return images * (options.parts - 1) * options.schedule.epochs


def _counted(told: Told, job: str, total: int) -> Callable[[int], None]:
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done = min(total, done + count)
        told(job, done, total)

    return advance
