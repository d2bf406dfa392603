"""Where masks are wrong: at the outlines of things, or inside them; and the largest wrong regions."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.types import IGNORE_INDEX

REACH: Final = 0.01
"""How far from a true boundary a pixel is at it, as a share of the image's diagonal; 1 pixel at least.

Half of what boundary IoU looks at: some 6 pixels in a photo of VOC, where labels themselves are hardly closer.
"""

_SEARCHED = 2**19
"""Pixels in which a region is looked for; of larger images every second row and column, or fewer."""

Mask = npt.NDArray[np.uint8]


class WrongRegion(NamedTuple):
    """Connected pixels that are wrong and not at a boundary, the largest of their image.

    Attributes:
        share: of the image's pixels.
        box: x1, y1, x2, y2 around them, pixels.
        truth: the label that most of them have.
        predicted: what most of these were taken for.
    """

    share: float
    box: tuple[int, int, int, int]
    truth: int
    predicted: int


class MaskErrors(NamedTuple):
    """Pixels of an image, or of many; ignored ones are left out.

    Attributes:
        counted: of all.
        wrong: taken for another class.
        near: at a true boundary.
        wrong_near: both.
    """

    counted: int
    wrong: int
    near: int
    wrong_near: int

    @property
    def boundary_share(self) -> float:
        """The part of the wrong pixels that is at a true boundary; 0 where nothing is wrong."""
        return self.wrong_near / max(self.wrong, 1)


class ImageErrors(NamedTuple):
    """Of one image; ``region`` is None where nothing is wrong away from boundaries."""

    pixels: MaskErrors
    region: WrongRegion | None


def mask_errors(truth: Mask, predicted: Mask) -> ImageErrors:
    """Compare one image's masks, uint8 [H, W], 255 ignored in the truth.

    A pixel is at a boundary where the square around it, :data:`REACH` to each side, has another true label, ignored
    pixels being one; the image's end is none.
    """
    import cv2

    reach = max(1, round(REACH * math.hypot(*truth.shape)))
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    counted = truth != IGNORE_INDEX
    near = (cv2.erode(truth, square) != cv2.dilate(truth, square)) & counted
    wrong = (truth != predicted) & counted
    pixels = MaskErrors(*(int(np.count_nonzero(each)) for each in (counted, wrong, near, wrong & near)))
    return ImageErrors(pixels, _largest(wrong & ~near, truth, predicted) if pixels.wrong > pixels.wrong_near else None)


def _largest(wrong: npt.NDArray[np.bool_], truth: Mask, predicted: Mask) -> WrongRegion | None:
    import cv2

    step = math.ceil(math.sqrt(wrong.size / _SEARCHED))
    some = np.s_[::step, ::step]
    truth, predicted = truth[some], predicted[some]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(wrong[some].astype(np.uint8), connectivity=4)
    if count < 2:
        return None
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    left, top, width, height, area = (int(value) for value in stats[largest])
    window = np.s_[top : top + height, left : left + width]
    inside = labels[window] == largest
    label = int(np.bincount(truth[window][inside]).argmax())
    taken_for = int(np.bincount(predicted[window][inside & (truth[window] == label)]).argmax())
    box = (left * step, top * step, (left + width) * step, (top + height) * step)
    return WrongRegion(area / truth.size, box, label, taken_for)
