"""How often images of rare classes are drawn: LVIS' repeat factors (Gupta et al. 2019, section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.joint import JointDataset
from mnv2dense.protocols import Dataset, ShowsClasses
from mnv2dense.utils.numbers import is_number


def repeat_factors(labels: Sequence[Sequence[int]], *, threshold: float) -> npt.NDArray[np.float64]:
    """How many times each image is drawn in an epoch, on the average.

    A class that a share f of the images shows has the factor ``max(1, sqrt(threshold / f))``; an image has the highest
    of its classes, and 1 where it shows none.

    Args:
        labels: of the classes that each of P images shows; one that is there twice counts once.
        threshold: share of the images, 0..1, from which on a class is not rare.

    Returns:
        P factors of 1 or more.

    Raises:
        ValueError: a threshold outside 0..1.
    """
    check_threshold(threshold)
    shown = [np.unique(np.asarray(each, np.int64)) for each in labels]
    counts = np.bincount(np.concatenate([*shown, np.empty(0, np.int64)]))
    with np.errstate(divide="ignore"):
        of_class = np.maximum(1.0, np.sqrt(threshold * len(shown) / counts))
    return np.array([of_class[each].max(initial=1.0) for each in shown], np.float64)


def check_threshold(threshold: object) -> None:
    """Refuse what is no share.

    Raises:
        ValueError: it is no number, or outside 0..1.
    """
    if not is_number(threshold) or not 0 <= threshold <= 1:
        raise ValueError(
            f"repeat_threshold={threshold}: a share of the images between 0 and 1; classes that fewer show are drawn "
            "more often. LVIS has 0.001 for 100,000 images; for hundreds, try 0.1."
        )


def repeats_of(dataset: Dataset, threshold: float) -> npt.NDArray[np.float64]:
    """:func:`repeat_factors` of a data set.

    Raises:
        ValueError: a threshold outside 0..1, or a data set that does not tell which classes an image shows.
    """
    if not isinstance(dataset, ShowsClasses):
        raise ValueError(
            f"repeat_threshold={threshold}: {type(dataset).__name__} does not tell which classes an image shows "
            "(labels_of), so that those of rare ones could be drawn more often; leave the option out."
        )
    return repeat_factors([dataset.labels_of(index) for index in range(len(dataset))], threshold=threshold)


def draws_of(dataset: Dataset, threshold: float | None) -> npt.NDArray[np.float64] | None:
    """How often an epoch draws each image, by its part of joined data and by its classes; None draws all once.

    Args:
        dataset: to learn from.
        threshold: as of :func:`repeats_of`; None leaves classes out.

    Raises:
        ValueError: as :func:`repeats_of`.
    """
    by_part = dataset.repeats if isinstance(dataset, JointDataset) else None
    if threshold is None:
        return by_part
    by_class = repeats_of(dataset, threshold)
    return by_class if by_part is None else by_class * by_part
