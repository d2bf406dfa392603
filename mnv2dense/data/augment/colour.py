"""Brightness, contrast, saturation and hue in one pass over the pixels."""

from __future__ import annotations

import math
from typing import Any

import albumentations as A
import cv2
import numpy as np
import numpy.typing as npt


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


class Photometric(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations is untyped
    """Each of the four distortions with probability ``each``, in one pass over the pixels."""

    def __init__(self, each: float, brightness: float, contrast: float, saturation: float, hue_degrees: float) -> None:
        super().__init__(p=1.0 if each > 0 else 0.0)
        self.each = each
        self.limits = np.array([255 * brightness, contrast, saturation, hue_degrees])

    def get_params(self) -> dict[str, Any]:
        """Draw which distortions, and how strong: ``matrix``, or None for none."""
        chosen = self.random_generator.random(4) < self.each
        shifts = self.random_generator.uniform(-1, 1, size=4) * self.limits * chosen
        if not chosen.any():
            return {"matrix": None}
        return {
            "matrix": colour_matrix(
                brightness=shifts[0], contrast=1 + shifts[1], saturation=1 + shifts[2], hue_degrees=shifts[3]
            )
        }

    def apply(
        self, img: npt.NDArray[np.uint8], matrix: npt.NDArray[np.float32] | None, **_: object
    ) -> npt.NDArray[np.uint8]:
        """[H, W, 3] -> [H, W, 3]."""
        return img if matrix is None else np.asarray(cv2.transform(img, matrix), np.uint8)
