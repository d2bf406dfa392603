"""Searches for wrong labels of boxes, masks and images, once data, options and folds are settled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mnv2dense.backbones import MobileNetV2
from mnv2dense.doctor.box_shifts import EPOCHS, out_of_fold_shifts
from mnv2dense.doctor.box_views import BoxViews, ViewFeatures
from mnv2dense.doctor.class_context import with_context
from mnv2dense.doctor.crops import CropFeatures
from mnv2dense.doctor.frozen import boxes_of, frozen_features, true_boxes
from mnv2dense.doctor.held_out import out_of_fold_boxes, out_of_fold_pixels
from mnv2dense.doctor.judged_by_model import batches, found_by, pixels_by
from mnv2dense.doctor.linear_probe import out_of_fold_probabilities
from mnv2dense.doctor.neighbours import without_neighbours
from mnv2dense.doctor.suspects_of_boxes import (
    SHOWN_MOVED,
    SHOWN_SHIFT,
    missing_box_suspects,
    shifted_box_suspects,
    wrong_class_suspects,
)
from mnv2dense.doctor.suspects_of_masks import image_class_suspects, mask_suspects
from mnv2dense.doctor.together import Seen, Together
from mnv2dense.doctor.wrong_boxes import missing_boxes, shifted_boxes
from mnv2dense.doctor.wrong_classes import doubt_classes
from mnv2dense.metrics.box_columns import FoundBoxes
from mnv2dense.models.backbone import mobilenet_v2
from mnv2dense.ops.resize import ResizeMode, resize_mask
from mnv2dense.types import IGNORE_LABEL, Sample
from mnv2dense.utils.device import device_of

if TYPE_CHECKING:
    from mnv2dense.doctor.suspect import Suspect
    from mnv2dense.protocols import Model
    from mnv2dense.workflows.out_of_fold import OutOfFold

Told = Callable[[str, int, int], None]
"""What is done now, how much of it is done, and how much it is."""

# Found boxes that are looked at a second time, to say which class they would be of.
_NAMED_AT_MOST = 500


class Folds(NamedTuple):
    """The fold of each image: of those that heads judge, and of those that classifiers of crops do."""

    heads: npt.NDArray[np.int64]
    crops: npt.NDArray[np.int64]


def _wrong_boxes(data: Together, options: OutOfFold, model: Model | None, fold_of: Folds, told: Told) -> list[Suspect]:
    crops = CropFeatures(_backbone(options, "stride16", "last_conv"), size_px=options.crop_px)
    seen, features = Seen(data.class_names), [np.zeros((0, crops.length), np.float32)]
    moved = ViewFeatures(_backbone(options, "stride16"), seed=options.seed) if model is None else None
    views: list[BoxViews] = []

    def look(place: int, sample: Sample) -> None:
        seen.add(sample)
        assert sample.boxes is not None
        assert sample.labels is not None
        objects = sample.boxes[sample.labels != IGNORE_LABEL]
        features.append(crops(sample.image, objects))
        if moved is not None:
            views.append(moved(sample.image, objects))

    counted = counted_by(told, "looking at images", len(data))
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
            advance=counted_by(told, "learning what objects are", _steps(len(data), options)),
        )
        del frozen
        together = BoxViews.joined(views)
        views.clear()
        shifted = out_of_fold_shifts(
            together,
            truth,
            fold_of.heads,
            seed=options.seed,
            device=device_of(options.device),
            advance=counted_by(told, "learning how boxes lie", _moved_views(together, options)),
        )
        del together
    else:
        found = found_by(model, data, look, counted)
        truth = boxes_of(seen.samples)
        shifted = shifted_boxes(found, truth)
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
        advance=counted_by(told, "learning what classes look like", 2 * len(np.unique(fold_of.crops))),
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
        *shifted_box_suspects(images, truth, shifted, at_least=SHOWN_SHIFT if model else SHOWN_MOVED),
        *missing_box_suspects(images, found, missing, proposed, objects=len(objects)),
    ]


def _wrong_masks(data: Together, options: OutOfFold, model: Model | None, fold_of: Folds, told: Told) -> list[Suspect]:
    size = options.size or mask_size(data)
    seen, masks = Seen(data.class_names), []
    height, width = size if model is None else model.size
    grid, mode = (-(-height // 8), -(-width // 8)), "squash" if model is None else model.resize

    def look(place: int, sample: Sample) -> None:
        seen.add(sample._replace(mask=None))
        masks.append(_on_grid(sample, grid, mode))

    counted = counted_by(told, "looking at images", len(data))
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
            advance=counted_by(told, "learning what regions look like", _steps(len(data), options)),
        )
        infos = frozen.infos
    else:
        said, infos, size = *pixels_by(model, data, grid, look, counted), model.size
    return mask_suspects(seen.named, torch.stack(masks), said, infos, size)


def _wrong_images(data: Together, options: OutOfFold, model: Model | None, fold_of: Folds, told: Told) -> list[Suspect]:
    seen = Seen(data.class_names)
    counted = counted_by(told, "looking at images", len(data))
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
        told_of = counted_by(told, "learning what classes look like", 2 * len(np.unique(fold_of.crops)))
        rows = np.concatenate(features)
        features.clear()
        said = out_of_fold_probabilities(rows, labels, fold_of.crops, classes=len(data.class_names), advance=told_of)
    else:
        answers = batches(model, data, lambda place, sample: seen.add(sample), counted)
        said = np.concatenate([model.decoded(images).float().cpu().numpy() for images, _ in answers])
        labels = _classes_of(seen.samples)
    return image_class_suspects(seen.named, labels, doubt_classes(labels, said))


SEARCHES: Final[Mapping[str, Callable[..., list[Suspect]]]] = {
    "detection": _wrong_boxes,
    "segmentation": _wrong_masks,
    "classification": _wrong_images,
}
"""By task: (data, options, a model that judges or None, folds, told) -> suspects."""


def mask_size(data: Together) -> tuple[int, int]:
    """The input of a search of masks: the first image's size, up to 512 pixels, in whole cells of 8."""
    size = data[0].image.shape[:2]
    scale = min(1.0, 512 / max(size))
    height, width = (max(32, round(side * scale / 8) * 8) for side in size)
    return height, width


def counted_by(told: Told, job: str, total: int) -> Callable[[int], None]:
    """Adds up how much of a job is done, and tells."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done = min(total, done + count)
        told(job, done, total)

    return advance


def _backbone(options: OutOfFold, *features: str, output_stride: int = 32) -> MobileNetV2:
    built = mobilenet_v2(features=features, weights=options.weights, output_stride=output_stride).eval()
    return built.to(device_of(options.device), memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # torch's own stubs lack it


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


def _moved_views(views: BoxViews, options: OutOfFold) -> int:
    """That heads learn from, all together."""
    return (options.parts - 1) * EPOCHS * views.offsets[:, 1:, 0].numel()


def _steps(images: int, options: OutOfFold) -> int:
    return images * (options.parts - 1) * options.schedule.epochs
