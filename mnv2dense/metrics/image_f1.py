"""F1 of the boxes of one image, soft: of any two images it says which went better, also while all scores are low."""

from __future__ import annotations

import numpy as np

from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.metrics.box_hits import hits
from mnv2dense.metrics.image_ranking import ImageScore
from mnv2dense.types import SHOWN_SCORE

_LEAST_IOU = 0.1
"""Of a box and the object that it finds: hardly more than touching, as the IoU itself is part of the score."""

_SOFTENING = 0.1
"""Added above and below: an image in which all is missed is the worse the more there was, and none is 0."""


def image_f1(found: FoundBoxes, truth: TrueBoxes) -> ImageScore | None:
    """2 TP / (2 TP + FP + FN), where a box counts by its score squared, and a hit also by its IoU.

    Boxes take objects as :func:`mnv2dense.metrics.box_hits.hits` has it; one in a region to ignore is neither right nor
    wrong. Squared, the many boxes of low scores that a detector always has weigh next to nothing.

    Args:
        found: the boxes of one image.
        truth: its objects.

    Returns:
        Above 0 and at most 1, weighted by the number of objects and of boxes that are shown; None where there was
        nothing to find and nothing is shown.
    """
    went = hits(found, truth, least_iou=_LEAST_IOU)
    weights = np.where(went.ignored, 0.0, found.scores**2)
    objects = int((~truth.crowds).sum())
    shown = int((found.scores >= SHOWN_SCORE).sum())
    if objects + shown == 0:
        return None
    right, counted = float(weights @ went.ious), float(weights.sum())
    return ImageScore((2 * right + _SOFTENING) / (counted + objects + _SOFTENING), objects + shown)
