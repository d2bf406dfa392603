"""Images [H, W, 3] that lie in memory as three planes, as a resize by torch leaves them.

OpenCV takes such an array for a strided one and copies it pixel by pixel, which takes as long as all that an
augmentation does; plane by plane, or interleaved by its own means, it is a tenth of that.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


def planes_of(image: Pixels) -> Pixels | None:
    """[3, H, W] of an image in planes, not copied; None of one whose pixels lie together, or of a mask."""
    if image.ndim != 3:
        return None
    planes = image.transpose(2, 0, 1)
    return planes if planes.flags.c_contiguous else None


def interleaved(image: Pixels) -> Pixels:
    """The same image with the three values of each pixel beside each other; itself where they are."""
    planes = planes_of(image)
    return image if planes is None else np.asarray(cv2.merge(list(planes)), np.uint8)


def by_plane(planes: Pixels, size: tuple[int, int], change: Callable[[Pixels, Pixels, int], object]) -> Pixels:
    """[3, h, w] -> [H, W, 3] in planes.

    Args:
        planes: of an image.
        size: (H, W).
        change: (plane, where the changed one is written to, its number).
    """
    changed = np.empty((len(planes), *size), np.uint8)
    for number, plane in enumerate(planes):
        change(plane, changed[number], number)
    return changed.transpose(1, 2, 0)
