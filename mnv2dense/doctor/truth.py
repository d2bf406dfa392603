"""What a split is annotated with, and what is suspect about that, whatever the task."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.box_table import BoxTable
from mnv2dense.doctor.facts import SplitFacts, facts_of_boxes, facts_of_classes, facts_of_masks
from mnv2dense.doctor.looks import Looks
from mnv2dense.doctor.odd_boxes import odd_boxes, wrong_sizes
from mnv2dense.doctor.odd_masks import FEW_EMPTY, look_at_masks, odd_masks
from mnv2dense.doctor.suspect import Suspect
from mnv2dense.metrics.box_columns import TrueBoxes
from mnv2dense.protocols import BoxDataset, Dataset, MaskDataset, ShowsClasses
from mnv2dense.types import BoxColumns


class TruthLook(NamedTuple):
    """One split's truth.

    Attributes:
        facts: counts.
        suspects: of its labels.
        columns: its boxes, in the order of its images; None of other tasks.
        classes: of each image the classes that it is annotated with, sorted; None of masks.
    """

    facts: SplitFacts
    suspects: list[Suspect]
    columns: BoxColumns | None
    classes: list[tuple[str, ...]] | None


def look_at_truth(
    name: str, dataset: Dataset, looks: Looks, *, told: Callable[[int, int], None] = lambda done, total: None
) -> TruthLook:
    """Counts and suspects of a data set of boxes, masks or classes of whole images.

    Args:
        name: of the split, for the facts.
        dataset: as ``looks`` are of.
        looks: of its images.
        told: called with how many masks are read, of how many.

    Raises:
        ValueError: a data set that has none of these.
    """
    names = tuple(dataset.class_names)
    if isinstance(dataset, MaskDataset):
        masks = look_at_masks(dataset, looks, told=told)
        facts = facts_of_masks(name, looks, masks, len(names))
        return TruthLook(facts, odd_masks(masks, looks, names), None, None)
    if isinstance(dataset, BoxDataset):
        columns = _columns(dataset, looks)
        dropped = dataset.dropped_columns() if isinstance(dataset, BoxTable) else None
        suspects = odd_boxes(looks, columns, dropped, names)
        if isinstance(dataset, BoxTable):
            suspects += wrong_sizes(looks, dataset.image_sizes())
        counts = np.bincount(columns.images[~columns.crowds], minlength=len(looks.paths))
        empty = np.flatnonzero(counts == 0)
        if len(empty) <= FEW_EMPTY * len(counts):
            suspects += [_empty(looks, place) for place in empty.tolist()]
        facts = facts_of_boxes(name, looks, columns, len(names))
        return TruthLook(facts, suspects, columns, _classes_of(columns, names, len(looks.paths)))
    labels = _image_labels(name, dataset)
    classes: list[tuple[str, ...]] = [(names[label],) for label in labels.tolist()]
    return TruthLook(facts_of_classes(name, looks, labels, len(names)), [], None, classes)


def _image_labels(name: str, dataset: Dataset) -> npt.NDArray[np.int64]:
    """The class of each image; images are read for it where a data set does not know it without."""
    if isinstance(dataset, ShowsClasses):
        return np.array([dataset.labels_of(place)[0] for place in range(len(dataset))], np.int64)
    found = []
    for place in range(len(dataset)):
        sample = dataset[place]
        if sample.boxes is not None or sample.labels is None:
            raise ValueError(
                f"{name}: {type(dataset).__name__} has neither boxes nor masks nor classes of its images; "
                "mnv2dense.protocols says what a data set of each offers."
            )
        found.append(int(sample.labels[0]))
    return np.array(found, np.int64)


def _empty(looks: Looks, place: int) -> Suspect:
    return Suspect("empty image", looks.paths[place], looks.image_ids[place], 0.3, "no object is annotated in it")


def _columns(dataset: BoxDataset, looks: Looks) -> BoxColumns:
    """The truth in the order of the images, which may be another than that of their ids."""
    truth = TrueBoxes.of(dataset)
    ids = np.asarray(looks.image_ids, np.int64)
    order = np.argsort(ids, kind="stable")
    places: npt.NDArray[np.int64] = order[np.searchsorted(ids[order], truth.image_ids[truth.images])]
    return BoxColumns(ids, places, truth.boxes, truth.labels, truth.crowds, truth.areas)


def _classes_of(columns: BoxColumns, names: tuple[str, ...], images: int) -> list[tuple[str, ...]]:
    """Of each image the class of each object, sorted."""
    rows = np.flatnonzero(~columns.crowds)
    rows = rows[np.lexsort((columns.labels[rows], columns.images[rows]))]
    starts = np.searchsorted(columns.images[rows], np.arange(images + 1)).tolist()
    labels = columns.labels[rows].tolist()
    return [tuple(names[label] for label in labels[starts[k] : starts[k + 1]]) for k in range(images)]
