"""Which classes are to be expected in an image by what else is annotated there: no toaster among sheep."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mnv2dense.metrics.box_columns import TrueBoxes

Floats = npt.NDArray[np.float64]

# Objects that a class's company is believed to be like any, before it is seen.
_SMOOTHING = 5.0

# Of what is expected before other objects of the class are counted, the share that goes by classes in its company; the
# rest goes by how frequent it is anywhere.
_BY_COMPANY = 0.95

# How many objects that expectation counts for, beside those that there are; what fits the labels best is taken.
_WORTH = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def with_context(probabilities: npt.NDArray[np.float32], truth: TrueBoxes) -> npt.NDArray[np.float32]:
    """Classes of a box, by its pixels and by what else its image shows; the two are held to be independent.

    Args:
        probabilities: [M, K], of each of M objects by its own pixels, out of fold.
        truth: the M objects, without regions to ignore.

    Returns:
        float32 [M, K]; rows sum to 1.
    """
    classes = probabilities.shape[1]
    frequent = (np.bincount(truth.labels, minlength=classes) + 1.0) / (len(truth.labels) + classes)
    both = probabilities * expected_classes(truth, classes) / frequent + 1e-12
    return np.asarray(both / both.sum(axis=1, keepdims=True), np.float32)


def expected_classes(truth: TrueBoxes, classes: int) -> Floats:
    """What class each object would be, by all labels but its own: a Polya urn (Dirichlet-multinomial) for each image.

    An object is of class y with a chance of (n_y + w m_y) / (n + w), n_y of the n other objects of its image being of
    that class and m_y what is expected there by the classes of these, counted in all other images. w is chosen so that
    the labels are likeliest.

    Args:
        truth: M objects, without regions to ignore.
        classes: K.

    Returns:
        float64 [M, K]; rows sum to 1.
    """
    rows, images = np.arange(len(truth.labels)), truth.images
    counts = np.zeros((len(truth.image_ids), classes))
    np.add.at(counts, (images, truth.labels), 1)
    others = counts[images]
    others[rows, truth.labels] -= 1
    before = _before(counts, others, images)
    number = others.sum(axis=1, keepdims=True)
    best, chosen = -np.inf, before
    for worth in _WORTH:
        expected = (others + worth * before) / (number + worth)
        likely = float(np.log(expected[rows, truth.labels]).sum())
        if likely > best:
            best, chosen = likely, expected
    return chosen


def _before(counts: Floats, others: Floats, images: npt.NDArray[np.int64]) -> Floats:
    """[M, K], what is expected of an object by other images: by the classes that its own shows beside it."""
    anywhere = counts.sum(axis=0) - counts[images] + 1
    anywhere /= anywhere.sum(axis=1, keepdims=True)
    shown = (counts > 0).astype(np.float64)
    together = shown.T @ shown
    np.fill_diagonal(together, 0)
    # Of each class in the company the classes beside it, counted in all images but the object's own.
    own, company = shown[images], others > 0
    times = together.sum(axis=1) - (own.sum(axis=1, keepdims=True) - 1) + _SMOOTHING
    weights = company / np.maximum(times, _SMOOTHING)
    beside = weights @ together + weights.sum(axis=1, keepdims=True) * (_SMOOTHING * anywhere - own) + weights
    beside /= np.maximum(1, company.sum(axis=1, keepdims=True))
    alone = ~company.any(axis=1)
    beside[alone] = anywhere[alone]
    return np.asarray(_BY_COMPANY * beside + (1 - _BY_COMPANY) * anywhere)
