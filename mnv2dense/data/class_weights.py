"""Weights of classes for a loss on masks, from how often each class occurs in the data."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.mask_png import count_values
from mnv2dense.protocols import Dataset
from mnv2dense.types import IGNORE_INDEX
from mnv2dense.utils.cores import usable_cores

Kind = Literal["inverse_sqrt", "median_frequency", "inverse_log"]
"""How a share becomes a weight; see :func:`class_weights`."""

FloatArray = npt.NDArray[np.float64]


def class_weights(dataset: Dataset, *, kind: Kind, threads: int | None = None) -> list[float]:
    """Weights that let rare classes be heard, for ``class_weights`` of a loss; every image is read once.

    With p the share of a class among all pixels that are not ignored:

    - ``inverse_sqrt``: 1 / sqrt(p), scaled so that the classes that occur average 1; between plain and full balance.
    - ``median_frequency``: f is the class's share in those images alone that show it, the weight the median of all f
      divided by f (Eigen and Fergus 2015; SegNet, Badrinarayanan et al. 2017, section 3.1); full balance.
    - ``inverse_log``: 1 / ln(1.02 + p), from 1.4 to 50 (ENet, Paszke et al. 2016, section 5.2).

    A class that never occurs gets 0: no pixel could use a weight, and those of the formulas would be infinite.

    Args:
        dataset: of masks; those that its samples have are counted, without augmentation.
        kind: see above.
        threads: that read images at once; None takes one a core.

    Returns:
        K weights, in the order of ``dataset.class_names``.

    Raises:
        ValueError: an unknown kind; an image without a mask, or with a label that the data set lacks; or no pixel
            that is not ignored.
    """
    if kind not in _WEIGHTS:
        raise ValueError(f"class_weights={kind!r}: choose from {', '.join(get_args(Kind))}, or list one per class.")
    classes = len(dataset.class_names)
    pixels, in_images = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    with ThreadPoolExecutor(threads or usable_cores()) as pool:
        for counts in pool.map(lambda index: _count(dataset, index), range(len(dataset))):
            pixels += counts
            in_images += np.where(counts > 0, counts.sum(), 0)
    occurs = pixels > 0
    if not occurs.any():
        raise ValueError(
            f"the {len(dataset)} images have no pixel that is not ignored, so classes have no shares; "
            "look at the masks and at what data ignores, or train without class_weights."
        )
    weights = np.zeros(classes)
    weights[occurs] = _WEIGHTS[kind]((pixels / pixels.sum())[occurs], pixels[occurs] / in_images[occurs])
    return [float(weight) for weight in weights]


def _count(dataset: Dataset, index: int) -> npt.NDArray[np.int64]:
    """The pixels of each class in one image, [K]."""
    sample = dataset[index]
    if sample.mask is None:
        raise ValueError(f"{sample.path}: has no mask to count classes in; choose data of masks.")
    counts = count_values(sample.mask)
    classes = len(dataset.class_names)
    foreign = np.flatnonzero(counts[classes:IGNORE_INDEX])
    if len(foreign):
        raise ValueError(
            f"{sample.path}: its mask has label {classes + foreign[0]}, but the data set has {classes} classes "
            f"(0..{classes - 1}; 255 is ignored)."
        )
    return counts[:classes]


def _inverse_sqrt(share: FloatArray, _: FloatArray) -> FloatArray:
    weights: FloatArray = 1 / np.sqrt(share)
    return weights / float(weights.mean())


def _median_frequency(_: FloatArray, frequency: FloatArray) -> FloatArray:
    return float(np.median(frequency)) / frequency


def _inverse_log(share: FloatArray, _: FloatArray) -> FloatArray:
    return 1 / np.log(1.02 + share)


_WEIGHTS: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "inverse_sqrt": _inverse_sqrt,
    "median_frequency": _median_frequency,
    "inverse_log": _inverse_log,
}
