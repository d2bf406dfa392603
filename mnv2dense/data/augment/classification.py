"""Augmentation of images to classify: a random window of the image, colour, mirror."""

from __future__ import annotations

import math
from typing import final

import numpy as np

from mnv2dense.data.augment.colour import draw_colours
from mnv2dense.data.augment.plans import WindowPlan, happens, streams
from mnv2dense.ops.resize import ResizeMode
from mnv2dense.ops.windows import Window
from mnv2dense.types import Sample


@final
class ClassificationAugment:
    """Random area and proportions (Szegedy et al. 2015, section 6), colour and mirror, as a function of (sample, seed).

    Args:
        smallest_area: of the window, as a share of the image; 1 takes the whole image. ImageNet recipes have
            0.08; small models and short runs want more.
        largest_aspect: of the window's sides to each other, 1 or more; drawn on a logarithmic scale.
        flip_probability: of mirroring left and right.
        photometric_probability: of each of brightness, contrast, saturation and hue.
        brightness: largest shift, as a fraction of full scale.
        contrast: largest relative change: 0.4 multiplies by 0.6..1.4.
        saturation: largest relative change.
        hue_degrees: largest turn of the colour circle.

    Attributes:
        chooses_frame: True: what it returns is the frame, to be filled into the model's input whole.
        size: None: that of the model's input.
    """

    chooses_frame = True
    size = None

    def __init__(
        self,
        *,
        smallest_area: float = 0.25,
        largest_aspect: float = 4 / 3,
        flip_probability: float = 0.5,
        photometric_probability: float = 0.5,
        brightness: float = 0.1,
        contrast: float = 0.4,
        saturation: float = 0.4,
        hue_degrees: float = 18.0,
    ) -> None:
        if not 0 < smallest_area <= 1:
            raise ValueError(f"augment.smallest_area={smallest_area}: a share of the image, above 0 and at most 1.")
        if largest_aspect < 1:
            raise ValueError(f"augment.largest_aspect={largest_aspect}: one side over the other, 1 or more.")
        self._smallest_area = smallest_area
        self._largest_aspect = largest_aspect
        self._flip_probability = flip_probability
        self._photometric_probability = photometric_probability
        self._colour_limits = np.array([255 * brightness, contrast, saturation, hue_degrees])

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Augment one sample; the same seed (0..2**32 - 1) gives the same result, and ``sample`` is left unchanged.

        Raises:
            ValueError: the sample has boxes or a mask, which would not follow.
        """
        return self._planned(sample, seed).draw(sample, sample.image)

    def plan(self, sample: Sample, seed: int, size: tuple[int, int], mode: ResizeMode) -> WindowPlan:
        """What a call does, for an input of ``size``; see :class:`mnv2dense.protocols.PlanningAugment`."""
        return self._planned(sample, seed).onto(size, mode)

    def _planned(self, sample: Sample, seed: int) -> WindowPlan:
        if sample.boxes is not None or sample.mask is not None:
            raise ValueError(
                f"{sample.path}: augment=window is for classes of whole images, and the data has boxes or masks too; "
                "augment=ssd moves boxes and masks, augment=crop masks alone."
            )
        rng, chances = streams(seed)
        height, width = sample.image.shape[:2]
        window = self._window(height, width, rng)
        colours = draw_colours(rng, self._photometric_probability, self._colour_limits)
        return WindowPlan(window, colours, happens(self._flip_probability, chances))

    def _window(self, height: int, width: int, rng: np.random.Generator) -> Window:
        if self._smallest_area >= 1:
            return Window(0, 0, width, height)
        side = math.sqrt(rng.uniform(self._smallest_area, 1) * height * width)
        stretch = math.exp(rng.uniform(-1, 1) * math.log(self._largest_aspect) / 2)
        # A window that sticks out is cut down to the image, not drawn again: the stream must not depend on the size.
        tall = min(height, max(1, round(side / stretch)))
        wide = min(width, max(1, round(side * stretch)))
        top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
        return Window(left, top, left + wide, top + tall)
