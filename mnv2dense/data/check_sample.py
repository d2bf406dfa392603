"""Whether a sample keeps its promises: one that does not would train without a word, on pairs that are none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mnv2dense.types import IGNORE_LABEL, Sample


def check_sample(sample: Sample, classes: int, *, of: object) -> None:
    """What :class:`mnv2dense.types.Sample` says of its arrays; some microseconds, as every image passes here.

    Args:
        sample: of a data set, or augmented.
        classes: K.
        of: the data set or augmentation that gave it, for the message.

    Raises:
        ValueError: arrays that do not belong together, boxes that are none or outside of the image, labels of no class.
    """
    fault = _fault_of(sample, classes)
    if fault is not None:
        giver = getattr(of, "__name__", type(of).__name__)  # a function has a name of its own
        raise ValueError(f"{giver} gave image {sample.image_id} ({sample.path}) {fault}")


def _fault_of(sample: Sample, classes: int) -> str | None:
    image, boxes, labels, mask = sample.image, sample.boxes, sample.labels, sample.mask
    given: dict[str, object] = {"image": image, "boxes": boxes, "labels": labels, "mask": mask}
    for name, value in given.items():
        if not isinstance(value, np.ndarray | None):
            return f"with {name} as {type(value).__name__}; they are numpy arrays."
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        return f"as {image.dtype} {list(image.shape)}; images are uint8 [height, width, 3], RGB."
    height, width = image.shape[:2]
    fault = None
    if boxes is not None:
        fault = _unpaired(boxes, labels) or _fault_of_boxes(boxes, height, width)
    if fault is None and labels is not None:
        fault = _fault_of_labels(labels, classes, whole_image=boxes is None)
    if fault is None and mask is not None:
        # Several heads' masks, which their data sets were asked for one by one.
        layers = [mask] if sample.known is None or mask.ndim != 3 else list(np.moveaxis(mask, -1, 0))
        faults = (_fault_of_mask(layer, classes, height, width) for layer in layers)
        fault = next((each for each in faults if each is not None), None)
    return fault


def _unpaired(boxes: npt.NDArray[Any], labels: npt.NDArray[Any] | None) -> str | None:
    if labels is not None and len(labels) == len(boxes) and boxes.shape in ((len(boxes), 4), (0,)):
        return None
    given = "no labels" if labels is None else f"labels {list(labels.shape)}"
    return (
        f"boxes {list(boxes.shape)} and {given}; they are [N, 4] and [N], and what is left out of one has to be left "
        "out of the other."
    )


def _fault_of_boxes(boxes: npt.NDArray[Any], height: int, width: int) -> str | None:
    # For the few boxes of an image, plain numbers are faster than arrays; no comparison is true of NaN.
    for left, top, right, bottom in boxes.tolist():
        ordered = -math.inf < left <= right < math.inf and -math.inf < top <= bottom < math.inf
        if not ordered or left > width or top > height or right < 0 or bottom < 0:
            rule = "lies outside of it; leave it and its label out" if ordered else "is none; boxes are x1, y1, x2, y2"
            numbers = ", ".join(f"{number:g}" for number in (left, top, right, bottom))
            return f"of {width} x {height} pixels the box [{numbers}], which {rule}, in pixels of the image."
    return None


def _fault_of_labels(labels: npt.NDArray[Any], classes: int, *, whole_image: bool) -> str | None:
    typed = labels.dtype.kind in "iu" or labels.shape == (0,)  # an empty list becomes an array of floats
    if labels.ndim != 1 or not typed or (whole_image and len(labels) != 1):
        count = "1" if whole_image else "N"
        return f"labels of {labels.dtype} {list(labels.shape)}; they are int64 [{count}]."
    allowed = None if whole_image else IGNORE_LABEL
    for label in labels.tolist():
        if not 0 <= label < classes and label != allowed:
            also = "" if whole_image else f", or {IGNORE_LABEL} for a region to ignore"
            return f"the label {label}; of {classes} classes they are 0..{classes - 1}{also}."
    return None


def _fault_of_mask(mask: npt.NDArray[Any], classes: int, height: int, width: int) -> str | None:
    if mask.dtype != np.uint8 or mask.shape != (height, width):
        return f"of {height} x {width} a mask of {mask.dtype} {list(mask.shape)}; masks are uint8 [height, width]."
    # One more is 0 where nothing counts, as 255 is the last of its type.
    if (largest := int((mask + np.uint8(1)).max(initial=0)) - 1) >= classes:
        return f"the class {largest} in its mask; of {classes} classes they are 0..{classes - 1}, and 255 is ignored."
    return None
