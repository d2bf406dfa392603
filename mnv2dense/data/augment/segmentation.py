"""Augmentation of images with masks: random scale, padded crop, mirror, colour (DeepLabv3, section 4.1)."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any, final

import albumentations as A
import cv2
import numpy as np
import numpy.typing as npt

from mnv2dense.data.augment.colour import Photometric
from mnv2dense.ops.resize import PAD_VALUE
from mnv2dense.types import IGNORE_INDEX, Sample


@final
class SegmentationAugment:
    """DeepLab's recipe as a function of (sample, seed); masks follow by nearest neighbour, never blended.

    Args:
        size: (height, width) of the crop that is trained on, pixels; the model's input, or less to train faster.
        smallest_scale: of the image before it is cropped.
        largest_scale: of the image before it is cropped.
        flip_probability: of mirroring left and right.
        photometric_probability: of each of brightness, contrast, saturation and hue.
        brightness: largest shift, as a fraction of full scale.
        contrast: largest relative change.
        saturation: largest relative change.
        hue_degrees: largest turn of the colour circle.

    Attributes:
        chooses_frame: True: what it returns is of ``size``, and taken as it is.
        size: as given.
    """

    chooses_frame = True

    def __init__(
        self,
        *,
        size: Sequence[int],
        smallest_scale: float = 0.5,
        largest_scale: float = 2.0,
        flip_probability: float = 0.5,
        photometric_probability: float = 0.3,
        brightness: float = 0.1,
        contrast: float = 0.3,
        saturation: float = 0.3,
        hue_degrees: float = 10.0,
    ) -> None:
        if not 0 < smallest_scale <= largest_scale:
            raise ValueError(
                f"augment.smallest_scale={smallest_scale}, largest_scale={largest_scale}: both above 0, in this order."
            )
        if not isinstance(size, Sequence) or [type(side) for side in size] != [int, int] or min(size) < 32:
            raise ValueError(
                f"augment.size={size}: height and width are needed, at least 32 pixels each, as in "
                "augment.size=[256,256]."
            )
        self.size = (int(size[0]), int(size[1]))
        self._transforms = A.Compose(
            [
                _ScaledCrop(self.size, smallest_scale, largest_scale),
                Photometric(photometric_probability, brightness, contrast, saturation, hue_degrees),
                A.HorizontalFlip(p=flip_probability),
            ]
        )

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Augment one sample; the same seed (0..2**32 - 1) gives the same result, and ``sample`` is left unchanged.

        Raises:
            ValueError: the sample has no mask, or boxes beside it.
        """
        if sample.boxes is not None:
            raise ValueError(
                f"{sample.path}: augment=crop is for masks alone, and the data has boxes too; augment=ssd moves both."
            )
        if sample.mask is None:
            raise ValueError(
                f"{sample.path}: augment=crop is for masks, and the data has none; choose another augment."
            )
        self._transforms.set_random_state(np.random.default_rng(seed), random.Random(seed))
        result = self._transforms(image=sample.image, mask=sample.mask)
        return sample._replace(image=result["image"], mask=result["mask"])


class _ScaledCrop(A.DualTransform):  # type: ignore[misc]  # albumentations is untyped
    """A window of the scaled image in one warp: no pixel that it does not read is ever computed."""

    def __init__(self, size: tuple[int, int], smallest_scale: float, largest_scale: float) -> None:
        super().__init__(p=1.0)
        self.size = size
        self.scales = (smallest_scale, largest_scale)

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the affine map of the window, 2x3, from image to crop."""
        height, width = params["shape"][:2]
        scale = self.random_generator.uniform(*self.scales)
        shares = self.random_generator.random(2)
        # Where the image is larger than the crop, the window lies inside it; where smaller, it inside the window.
        left = shares[0] * (width * scale - self.size[1])
        top = shares[1] * (height * scale - self.size[0])
        # Centres of pixels are at half coordinates: x' + 0.5 = (x + 0.5) * scale - left.
        shift = 0.5 * scale - 0.5
        return {"matrix": np.array([[scale, 0, shift - left], [0, scale, shift - top]])}

    def apply(self, img: npt.NDArray[np.uint8], matrix: npt.NDArray[np.float64], **_: object) -> npt.NDArray[np.uint8]:
        """[H, W, 3] -> the crop, grey around the image."""
        scale = matrix[0, 0]
        if scale < 0.9:  # a warp reads four pixels; to shrink well they must have seen their neighbours
            img = _blurred(img, 0.4 / scale, self._seen(matrix, img.shape[0], img.shape[1]))
        warped = cv2.warpAffine(
            img,
            matrix,
            self.size[::-1],
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(PAD_VALUE,) * 3,
        )
        return np.asarray(warped, np.uint8)

    def _seen(self, matrix: npt.NDArray[np.float64], height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of the image that the crop reads."""
        (scale, _, left), (_, _, top) = matrix.tolist()
        first = [math.floor(-shift / scale) - 1 for shift in (top, left)]
        last = [math.ceil((side - shift) / scale) + 2 for side, shift in zip(self.size, (top, left), strict=True)]
        rows, columns = (slice(max(0, a), min(b, n)) for a, b, n in zip(first, last, (height, width), strict=True))
        return rows, columns

    def apply_to_mask(
        self, mask: npt.NDArray[np.uint8], matrix: npt.NDArray[np.float64], **_: object
    ) -> npt.NDArray[np.uint8]:
        """[H, W], or of up to four channels -> the crop, ignored around the image."""
        warped = cv2.warpAffine(
            mask,
            matrix,
            self.size[::-1],
            flags=cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(IGNORE_INDEX,) * 4,
        )
        return np.asarray(warped, np.uint8)


def _blurred(image: npt.NDArray[np.uint8], sigma: float, seen: tuple[slice, slice]) -> npt.NDArray[np.uint8]:
    """The image blurred in those rows and columns; elsewhere its pixels are arbitrary."""
    reach = math.ceil(4 * sigma) + 1  # beyond OpenCV's kernel, which ends at 3 sigma for 8 bits
    rows, columns = (slice(max(0, part.start - reach), part.stop + reach) for part in seen)
    blurred = np.empty_like(image)
    blurred[rows, columns] = cv2.GaussianBlur(image[rows, columns], (0, 0), sigma)
    return blurred
