"""What a split consists of: counts, sizes, classes. Nothing here is suspect by itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.doctor.columns import without_crowds
from mnv2dense.doctor.input_size import histogram
from mnv2dense.doctor.looks import Looks
from mnv2dense.doctor.odd_masks import MaskLooks
from mnv2dense.types import IGNORE_INDEX, BoxColumns

Bar = tuple[float, float, int]
"""From, to (not included), how many."""


class SplitFacts(NamedTuple):
    """One split, or what one of several heads learns from in it.

    Attributes:
        name: "train", "val", or "train.boxes" of several heads.
        images: how many.
        unreadable: how many of them cannot be read.
        objects: boxes without regions to ignore, of whole images their classes, of masks regions counted once an image.
        ignored: regions to ignore; of masks the share of ignored pixels, 0..1.
        without: images that show no class at all.
        class_images: K, how many images show each class.
        class_counts: K, objects of each class; of masks its share of the pixels that count, 0..1.
        sizes: (height, width, how many) of the most frequent image sizes, the most frequent first.
        distinct_sizes: how many sizes there are.
        aspects: histogram of the images' width / height.
        sides: histogram of the roots of the objects' areas in pixels of their images, of images that can be read;
            empty without boxes.
        box_aspects: histogram of the objects' width / height, of the same.
        whole: share of objects that fill their image, 0..1.
    """

    name: str
    images: int
    unreadable: int
    objects: int
    ignored: float
    without: int
    class_images: tuple[int, ...]
    class_counts: tuple[float, ...]
    sizes: tuple[tuple[int, int, int], ...]
    distinct_sizes: int
    aspects: tuple[Bar, ...]
    sides: tuple[Bar, ...] = ()
    box_aspects: tuple[Bar, ...] = ()
    whole: float = 0.0


def facts_of_boxes(name: str, looks: Looks, columns: BoxColumns, classes: int) -> SplitFacts:
    """Of a split of boxes; ``looks`` in the order of ``columns.image_ids``."""
    counted = without_crowds(columns)
    shown = np.unique(np.stack([counted.labels, counted.images], axis=1), axis=0)
    sides = counted.boxes[:, 2:]
    frames = looks.sizes[counted.images][:, ::-1]
    # Formats in shares of the image know no pixels of one that cannot be read.
    solid = (sides > 0).all(axis=1) & (frames > 0).all(axis=1)
    whole = np.asarray(((sides >= 0.99 * frames) & (frames > 0)).all(axis=1))
    return _facts(name, looks)._replace(
        objects=len(counted.labels),
        ignored=float(columns.crowds.sum()),
        without=len(looks.paths) - len(np.unique(counted.images)),
        class_images=tuple(np.bincount(shown[:, 0], minlength=classes).tolist()),
        class_counts=tuple(np.bincount(counted.labels, minlength=classes).tolist()),
        sides=histogram(np.sqrt(sides[solid].prod(axis=1))),
        box_aspects=histogram(sides[solid, 0] / sides[solid, 1]),
        whole=float(whole.mean()) if len(whole) else 0.0,
    )


def facts_of_masks(name: str, looks: Looks, masks: MaskLooks, classes: int) -> SplitFacts:
    """Of a split of masks."""
    counted = masks.pixels[:, :classes]
    total, every = counted.sum(), masks.pixels.sum()
    images = (counted > 0).sum(axis=0)
    return _facts(name, looks)._replace(
        objects=int((counted > 0).sum()),
        ignored=float(masks.pixels[:, IGNORE_INDEX].sum() / every) if every else 0.0,
        without=int((counted.sum(axis=1) == 0).sum()),
        class_images=tuple(images.tolist()),
        class_counts=tuple((counted.sum(axis=0) / max(1, total)).tolist()),
    )


def facts_of_classes(name: str, looks: Looks, labels: npt.NDArray[np.int64], classes: int) -> SplitFacts:
    """Of a split of images to classify; ``labels`` has one for each image."""
    counts = np.bincount(labels, minlength=classes)
    return _facts(name, looks)._replace(
        objects=len(labels), class_images=tuple(counts.tolist()), class_counts=tuple(counts.tolist())
    )


def _facts(name: str, looks: Looks) -> SplitFacts:
    """What does not depend on the task."""
    readable = looks.sizes[(looks.sizes > 0).all(axis=1)]
    sizes, counts = np.unique(readable, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:5]
    return SplitFacts(
        name,
        images=len(looks.paths),
        unreadable=len(looks.faults),
        objects=0,
        ignored=0.0,
        without=0,
        class_images=(),
        class_counts=(),
        sizes=tuple((int(sizes[k, 0]), int(sizes[k, 1]), int(counts[k])) for k in order),
        distinct_sizes=len(sizes),
        aspects=histogram(readable[:, 1] / np.maximum(readable[:, 0], 1)),
    )
