"""The worst boxes and missed objects of each cause, to be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.metrics.box_errors import DUPE, MISS, RIGHT, BoxErrors
from mnv2dense.ops.numpy_boxes import iou
from mnv2dense.reporting.errors import Case
from mnv2dense.visualization.crops import draw_case

if TYPE_CHECKING:
    from mnv2dense.visualization.draw import Pixels


def worst_boxes(
    found: FoundBoxes,
    truth: TrueBoxes,
    errors: BoxErrors,
    cause: int,
    class_names: Sequence[str],
    image_of: Callable[[int], tuple[str, Pixels] | None],
    most: int,
) -> Iterator[Case]:
    """The worst of a cause, one an image as long as there are others: the surest boxes, or the largest objects.

    Args:
        found: boxes that are shown.
        truth: the objects.
        errors: of these boxes.
        cause: a place in :data:`mnv2dense.metrics.box_errors.CAUSES`.
        class_names: K names.
        image_of: name and pixels of an image, by its id; None where it cannot be shown.
        most: how many.
    """
    if cause == MISS:
        rows = np.flatnonzero(errors.missed)
        rows = rows[np.argsort(-truth.areas[rows], kind="stable")]
        images = truth.images
    else:
        rows = np.flatnonzero(errors.causes == cause)
        rows = rows[np.argsort(-found.scores[rows], kind="stable")]
        images = found.images
    first = np.sort(np.unique(images[rows], return_index=True)[1])  # of each image
    later = np.setdiff1d(np.arange(len(rows)), first, assume_unique=True)
    for row in rows[np.concatenate([first, later])][:most].tolist():
        shown = image_of(int(truth.image_ids[images[row]]))
        if shown is None:
            continue
        name, image = shown
        if cause == MISS:
            label = class_names[truth.labels[row]]
            yield Case(f"{label} missed. {name}", draw_case(image, [], [(truth.corners[row], label)]))
            continue
        yield _false_case(found, truth, errors, row, class_names, name, image)


def _false_case(
    found: FoundBoxes,
    truth: TrueBoxes,
    errors: BoxErrors,
    row: int,
    class_names: Sequence[str],
    name: str,
    image: Pixels,
) -> Case:
    label, thing = class_names[found.labels[row]], int(errors.objects[row])
    boxes = [(found.boxes[row], f"{label} {found.scores[row]:.2f}")]
    if thing < 0:
        return Case(f"{label}, nothing there. {name}", draw_case(image, boxes, []))
    true, corners = class_names[truth.labels[thing]], truth.corners[thing]
    overlap = float(iou(found.boxes[row], corners))
    said = f"{label}, is {true}" if label != true else label
    if errors.causes[row] == DUPE:
        (other,) = np.flatnonzero((errors.causes == RIGHT) & (errors.objects == thing))[:1]
        boxes.append((found.boxes[other], f"first {found.scores[other]:.2f}"))
        said = f"{label} once more"
    return Case(f"{said}, IoU {overlap:.2f}. {name}", draw_case(image, boxes, [(corners, true)]))
