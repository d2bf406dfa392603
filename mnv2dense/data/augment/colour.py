"""Brightness, contrast, saturation and hue in one pass over the pixels."""

from __future__ import annotations

import math
from typing import Any

import albumentations as A
import cv2
import numpy as np
import numpy.typing as npt

from mnv2dense.data.augment.planes import interleaved

Colours = npt.NDArray[np.float32] | None
"""An affine map of RGB, [3, 4], or None for colours as they are."""


def colour_matrix(
    *, brightness: float, contrast: float, saturation: float, hue_degrees: float
) -> npt.NDArray[np.float32]:
    """Brightness, then contrast, saturation and hue as one affine map of RGB, [3, 4].

    The hue turns around the grey axis and the saturation blends with the grey of equal luma, both in the
    plane of YIQ; one pass over the pixels in place of the four of HSV, and white stays white.

    Args:
        brightness: added, 0..255 scale.
        contrast: multiplies.
        saturation: 0 is grey, 1 unchanged.
        hue_degrees: positive turns red towards green.
    """
    angle = math.radians(hue_degrees)
    turn = saturation * np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    chroma = np.eye(3)
    chroma[1:, 1:] = turn
    matrix = np.empty((3, 4), np.float32)
    matrix[:, :3] = contrast * (_YIQ_TO_RGB @ chroma @ _RGB_TO_YIQ)
    matrix[:, 3] = contrast * brightness  # equal in all channels, so hue and saturation leave it alone
    return matrix


# The FCC's NTSC matrix (1953), with the luma weights of JPEG.
_RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_YIQ_TO_RGB = np.linalg.inv(_RGB_TO_YIQ)


def draw_colours(rng: np.random.Generator, each: float, limits: npt.NDArray[np.float64]) -> Colours:
    """Draw which of the four distortions, and how strong, as :func:`colour_matrix`; None for none.

    Args:
        rng: the only source of chance; not asked where ``each`` is 0.
        each: the probability of each.
        limits: largest shift of brightness (0..255 scale), change of contrast and saturation, turn of hue in degrees.
    """
    if each <= 0:
        return None
    chosen = rng.random(4) < each
    shifts = rng.uniform(-1, 1, size=4) * limits * chosen
    if not chosen.any():
        return None
    return colour_matrix(brightness=shifts[0], contrast=1 + shifts[1], saturation=1 + shifts[2], hue_degrees=shifts[3])


def recoloured(image: npt.NDArray[np.uint8], colours: Colours) -> npt.NDArray[np.uint8]:
    """[H, W, 3] -> [H, W, 3], in one pass over the pixels."""
    return image if colours is None else np.asarray(cv2.transform(interleaved(image), colours), np.uint8)


class Photometric(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations is untyped
    """Each of the four distortions with probability ``each``."""

    def __init__(self, each: float, brightness: float, contrast: float, saturation: float, hue_degrees: float) -> None:
        super().__init__(p=1.0 if each > 0 else 0.0)
        self.each = each
        self.limits = np.array([255 * brightness, contrast, saturation, hue_degrees])

    def get_params(self) -> dict[str, Any]:
        """Draw which distortions, and how strong: ``colours``, or None for none."""
        return {"colours": draw_colours(self.random_generator, self.each, self.limits)}

    def apply(self, img: npt.NDArray[np.uint8], colours: Colours, **_: object) -> npt.NDArray[np.uint8]:
        """[H, W, 3] -> [H, W, 3]."""
        return recoloured(img, colours)
