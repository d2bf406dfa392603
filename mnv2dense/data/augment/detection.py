"""Augmentation of detection samples.

The recipe is the SSD paper's (section 2.2 and 3.6): photometric distortion, zoom-out, crops with a minimum
overlap, mirror; before it, where asked for, images are mixed (:mod:`mnv2dense.data.augment.mixing`). albumentations
brings the frame (boxes, masks, probabilities, any further transform); the zoom-out and the crop are transforms of our
own, because its crops know nothing of a minimum overlap.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple, final

import albumentations as A
import numpy as np
import numpy.typing as npt

from mnv2dense.data.augment.colour import draw_colours
from mnv2dense.data.augment.mixing import Mixing
from mnv2dense.data.augment.plans import WindowPlan, happens, rows_of, streams
from mnv2dense.data.augment.windows import Boxes, View, crop_window, zoom_out_window
from mnv2dense.ops.resize import ResizeMode
from mnv2dense.ops.windows import Window
from mnv2dense.types import IGNORE_LABEL, Sample


@final
class DetectionAugment:
    """The SSD recipe as a function of (sample, seed): no global random state is read or changed.

    Objects keep their place if their centre stays in the crop, clipped to it; regions to ignore stay as long
    as they are visible. Every part is switched off by a probability of 0.

    Args:
        photometric_probability: of each of brightness, contrast, saturation and hue.
        brightness: largest shift, as a fraction of full scale (the paper's 32 of 255).
        contrast: largest relative change: 0.5 multiplies by 0.5..1.5.
        saturation: largest relative change.
        hue_degrees: largest turn of the colour circle.
        zoom_out_probability: of placing the image on a larger canvas.
        max_zoom_out: largest side of that canvas, in sides of the image.
        fill: its colour, RGB; ImageNet's mean.
        crop_probability: of choosing one of ``minimum_overlaps``.
        minimum_overlaps: smallest IoU of the crop with the object it overlaps most; 1 is the whole image.
        flip_probability: of mirroring left and right.
        min_box_side: boxes with a smaller side, in pixels of the augmented image, are dropped.
        mosaic_probability: of setting four images beside each other; see :class:`Mixing`, also for the next two.
        copy_paste_probability: of pasting objects of another image.
        mixup_probability: of blending with another image.
        extra: further albumentations transforms, applied last.
    """

    def __init__(
        self,
        *,
        photometric_probability: float = 0.5,
        brightness: float = 0.125,
        contrast: float = 0.5,
        saturation: float = 0.5,
        hue_degrees: float = 18.0,
        zoom_out_probability: float = 0.5,
        max_zoom_out: float = 4.0,
        fill: tuple[int, int, int] = (124, 116, 104),
        crop_probability: float = 1.0,
        minimum_overlaps: Sequence[float] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0),
        flip_probability: float = 0.5,
        min_box_side: float = 1.0,
        mosaic_probability: float = 0.0,
        copy_paste_probability: float = 0.0,
        mixup_probability: float = 0.0,
        extra: Sequence[A.BasicTransform] = (),
    ) -> None:
        if max_zoom_out < 1:
            raise ValueError(f"max_zoom_out is {max_zoom_out}, but a canvas is at least the image: use 1 or more.")
        if not minimum_overlaps or not all(0 <= overlap <= 1 for overlap in minimum_overlaps):
            raise ValueError(f"minimum_overlaps is {list(minimum_overlaps)}, but needs values in 0..1.")
        self._mixing = Mixing(mosaic=mosaic_probability, copy_paste=copy_paste_probability, mixup=mixup_probability)
        self._recipe = _Recipe(
            photometric_probability=photometric_probability,
            colour_limits=np.array([255 * brightness, contrast, saturation, hue_degrees]),
            zoom_out_probability=zoom_out_probability if max_zoom_out > 1 else 0.0,
            max_zoom_out=max_zoom_out,
            fill=(int(fill[0]), int(fill[1]), int(fill[2])),
            crop_probability=crop_probability,
            minimum_overlaps=tuple(minimum_overlaps),
            flip_probability=flip_probability,
            min_box_side=min_box_side,
        )
        self._with_extra: A.Compose | None = None
        if extra:
            self._with_extra = A.Compose(
                [_AsTransform(self._recipe), *extra],
                # `clip`: a division may leave a box a rounding error outside of the image. Boxes are filtered
                # once, at the end; after every transform it would cost as much as the crop.
                bbox_params=A.BboxParams(
                    format="pascal_voc",
                    min_width=min_box_side,
                    min_height=min_box_side,
                    clip=True,
                    check_each_transform=False,
                ),
            )

    @property
    def mixes(self) -> bool:
        """Whether images are ever mixed, which is for data of boxes alone."""
        return bool(self._mixing)

    def partners(self, seed: int, images: int) -> list[int]:
        """Which of ``images`` a sample is mixed with; see :class:`mnv2dense.protocols.MixingAugment`."""
        return self._mixing.partners(seed, images)

    def mix(self, sample: Sample, others: Sequence[Sample], seed: int) -> Sample:
        """The sample mixed with those, as it is augmented then."""
        return self._mixing.mix(sample, others, seed)

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Augment one sample.

        Args:
            sample: as a data set gives it; left unchanged.
            seed: 0..2**32 - 1; the same seed gives the same result.

        Returns:
            A sample with an image of another size, its boxes clipped to it and of positive area.

        Raises:
            ValueError: the sample has no boxes.
        """
        if self._with_extra is None:
            return self._planned(sample, seed).draw(sample, sample.image)
        boxes, labels = _truth_of(sample)
        # One stream for all parts. albumentations' own `set_random_seed` starts every part alike, so that
        # the images that are mirrored would be exactly those that are zoomed out.
        self._with_extra.set_random_state(np.random.default_rng(seed), random.Random(seed))
        rows = np.column_stack((boxes.reshape(-1, 4).astype(np.float64), labels))
        targets = {"image": sample.image, "bboxes": rows}
        if sample.mask is not None:
            targets["mask"] = sample.mask
        result = self._with_extra(**targets)
        rows = _rows(result["bboxes"])
        return sample._replace(
            image=result["image"],
            boxes=rows[:, :4].astype(np.float32),
            labels=rows[:, 4].astype(np.int64),
            mask=result.get("mask"),
        )

    def plan(self, sample: Sample, seed: int, size: tuple[int, int], mode: ResizeMode) -> WindowPlan | None:
        """What a call does, for an input of ``size``; see :class:`mnv2dense.protocols.PlanningAugment`.

        None where there are further transforms, which look at the pixels of the window itself.
        """
        if self._with_extra is not None:
            return None
        plan = self._planned(sample, seed).onto(size, mode)
        # A mask is as large as ever, and its pixels stay on those of the image.
        return plan if sample.mask is None else plan._replace(reduction=1)

    def _planned(self, sample: Sample, seed: int) -> WindowPlan:
        _truth_of(sample)
        rng, chances = streams(seed)
        height, width = sample.image.shape[:2]
        return self._recipe.plan(rows_of(sample, height, width), height, width, rng, chances)


def _truth_of(sample: Sample) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Boxes and labels."""
    if sample.boxes is None or sample.labels is None:
        raise ValueError(f"{sample.path}: augment=ssd is for boxes, and the data has none; choose another augment.")
    return sample.boxes, sample.labels


class _Recipe(NamedTuple):
    """The parts of the recipe and their chances; see :class:`DetectionAugment`."""

    photometric_probability: float
    colour_limits: npt.NDArray[np.float64]
    zoom_out_probability: float
    max_zoom_out: float
    fill: tuple[int, int, int]
    crop_probability: float
    minimum_overlaps: tuple[float, ...]
    flip_probability: float
    min_box_side: float

    def plan(
        self, rows: Boxes, height: int, width: int, rng: np.random.Generator, chances: random.Random
    ) -> WindowPlan:
        """Draw what is done to an image.

        Args:
            rows: (box as a fraction of the image, label), [N, 5].
            height: of the image, pixels.
            width: of the image, pixels.
            rng: the source of chance.
            chances: another, for what is done or not.
        """
        colours = draw_colours(rng, self.photometric_probability, self.colour_limits)
        window = self._window(rows, height, width, rng)
        mirrored = happens(self.flip_probability, chances)
        return WindowPlan(window, colours, mirrored, self.fill, self.min_box_side)

    def _window(self, rows: Boxes, height: int, width: int, rng: np.random.Generator) -> Window:
        """Zoom-out and crop in one: both only choose which window of the plane to look at."""
        window = Window(0, 0, width, height)
        if max(self.zoom_out_probability, self.crop_probability) <= 0:
            return window
        if rng.random() < self.zoom_out_probability:
            window = zoom_out_window(height, width, rng.uniform(1, self.max_zoom_out), rng)
        if rng.random() < self.crop_probability:
            objects = rows[rows[:, 4] != IGNORE_LABEL, :4] * (width, height, width, height)
            if not len(objects):  # then the image itself is what a crop must keep in sight
                objects = np.array([[0.0, 0.0, width, height]])
            window = crop_window(window, objects, self.minimum_overlaps, rng)
        return window


class _AsTransform(A.DualTransform):  # type: ignore[misc]  # albumentations is untyped
    """The recipe before transforms of albumentations' own."""

    def __init__(self, recipe: _Recipe) -> None:
        super().__init__(p=1.0)
        self.recipe = recipe

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        height, width = params["shape"][:2]
        rows = _rows(data["bboxes"])
        plan = self.recipe.plan(rows, height, width, self.random_generator, self.py_random)
        return {"plan": plan, "view": View(plan.window, height, width)}

    def apply(self, img: npt.NDArray[np.uint8], plan: WindowPlan, view: View, **_: object) -> npt.NDArray[np.uint8]:
        return plan.of_image(img, view)

    def apply_to_mask(
        self, mask: npt.NDArray[np.uint8], plan: WindowPlan, view: View, **_: object
    ) -> npt.NDArray[np.uint8]:
        return plan.of_mask(mask, view)

    def apply_to_bboxes(self, bboxes: Boxes, plan: WindowPlan, view: View, **_: object) -> Boxes:
        return plan.of_rows(_rows(bboxes), view)


def _rows(bboxes: Any) -> Boxes:  # noqa: ANN401 - a list or an array, as albumentations pleases
    """Boxes with their column of labels, [N, 5]; of no boxes albumentations drops that column."""
    return np.asarray(bboxes).reshape(-1, 5)
