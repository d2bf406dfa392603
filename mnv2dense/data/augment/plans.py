"""What an augmentation does to an image, decided before its pixels are there."""

from __future__ import annotations

import random
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch

from mnv2dense.data.augment.colour import Colours, recoloured
from mnv2dense.data.augment.planes import by_plane, planes_of
from mnv2dense.data.augment.windows import Boxes, View
from mnv2dense.ops.resize import ResizeMode, interpolated, sides_in_input
from mnv2dense.ops.windows import Window
from mnv2dense.types import Sample

# What decoders can leave out: a half, three or seven eighths of each side.
_REDUCTIONS = (8, 4, 2)

# A reduced image still has so many pixels for each of the canvas, each way: what a decoder leaves out is then finer
# than what the resize would keep. With no more than the canvas has, the resize would not blur the finest any more.
_SPARE = 1.5

# As albumentations has it: what a box may lack of its least side by rounding; and its least area, square pixels.
_EPSILON = 1e-7


class WindowPlan(NamedTuple):
    """A window of the plane with the image somewhere in it, its colours, and whether it is mirrored.

    Attributes:
        window: in pixels of the image; see :class:`~mnv2dense.data.augment.windows.View`.
        colours: a map of them, or None.
        mirrored: left and right are exchanged.
        fill: RGB of what lies around the image.
        min_box_side: boxes with a smaller side are dropped, in pixels of the canvas that the window has of its own,
            whatever size it is drawn at: which boxes are left does not depend on the model's input.
        size: (height, width) of the canvas; None is the window's own.
        reduction: how far the image may be decoded reduced: 1, 2, 4 or 8.
    """

    window: Window
    colours: Colours
    mirrored: bool
    fill: tuple[int, int, int] = (0, 0, 0)
    min_box_side: float = 0.0
    size: tuple[int, int] | None = None
    reduction: int = 1

    def onto(self, size: tuple[int, int], mode: ResizeMode) -> WindowPlan:
        """The same, on a canvas that a model's input of ``size`` shows as it is: nothing is drawn larger than that."""
        rows, columns = self.window.bottom - self.window.top, self.window.right - self.window.left
        height, width = sides_in_input(rows, columns, size, mode)
        spare = min(rows / height, columns / width) / _SPARE
        return self._replace(size=(height, width), reduction=next((n for n in _REDUCTIONS if n <= spare), 1))

    def draw(self, sample: Sample, image: npt.NDArray[np.uint8], reduction: int = 1) -> Sample:
        """The sample as the window shows it.

        Args:
            sample: whose window this is; of its image nothing is read.
            image: uint8 [ceil(H / reduction), ceil(W / reduction), 3], its pixels.
            reduction: of them, no more than the plan's. Where it is above 1 the window grows to whole pixels.
        """
        left, top, right, bottom = self.window
        own = View(self.window, *sample.image.shape[:2]).size
        window = Window(left // reduction, top // reduction, -(-right // reduction), -(-bottom // reduction))
        height, width = image.shape[:2]
        view = View(window, height, width, self.size)
        sample = sample._replace(
            image=self.of_image(image, view), mask=None if sample.mask is None else self.of_mask(sample.mask, view)
        )
        if sample.boxes is None or sample.labels is None:
            return sample
        rows = self.of_rows(rows_of(sample, height * reduction, width * reduction), view)
        boxes, labels = self._kept(rows, view.size, own)
        return sample._replace(boxes=boxes, labels=labels)

    def of_image(self, image: npt.NDArray[np.uint8], view: View) -> npt.NDArray[np.uint8]:
        """The canvas, where ``view`` is of the window; see :meth:`View.of_image`."""
        drawn = view.placed(self._part(image, view), self.fill)
        return _mirrored(drawn) if self.mirrored else drawn

    def of_mask(self, mask: npt.NDArray[np.uint8], view: View) -> npt.NDArray[np.uint8]:
        """See :meth:`View.of_mask`."""
        drawn = view.of_mask(mask)
        return np.ascontiguousarray(drawn[:, ::-1]) if self.mirrored else drawn

    def of_rows(self, rows: Boxes, view: View) -> Boxes:
        """See :meth:`View.of_rows`."""
        rows = view.of_rows(rows)
        if self.mirrored:
            rows[:, [0, 2]] = 1 - rows[:, [2, 0]]
        return rows

    def _part(self, image: npt.NDArray[np.uint8], view: View) -> npt.NDArray[np.uint8]:
        """The visible part at its size on the canvas, in its colours."""
        part, size = view.part_of(image), view.place_size
        if self.size is None:
            return view.scaled(recoloured(part, self.colours))
        # Each pixel is coloured alone, so that it may be done before or after: where there are fewer.
        if part.shape[0] * part.shape[1] <= size[0] * size[1]:
            return _scaled(recoloured(part, self.colours), size)
        return recoloured(_scaled(part, size), self.colours)

    def _kept(
        self, rows: Boxes, size: tuple[int, int], own: tuple[int, int]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Rows of (box as a fraction of the canvas, label) -> boxes in its pixels and labels, without slivers."""
        boxes = rows[:, :4].astype(np.float64).clip(0, 1) * (size[::-1] * 2)
        sides = (boxes[:, 2:] - boxes[:, :2]) * (own[1] / size[1], own[0] / size[0])
        kept = (sides >= self.min_box_side - _EPSILON).all(axis=1) & (sides.prod(axis=1) >= _EPSILON)
        return boxes[kept].astype(np.float32), rows[kept, 4].astype(np.int64)


def streams(seed: int) -> tuple[np.random.Generator, random.Random]:
    """The sources of chance of one call: of what is done, and of whether it is.

    They stand where those of an albumentations pipeline would, whose first draw is for all of it together.
    """
    chances = random.Random(seed)
    chances.random()
    return np.random.default_rng(seed), chances


def happens(probability: float, chances: random.Random) -> bool:
    """As albumentations draws it: what is certain takes nothing from the stream."""
    return probability > 0 and (probability >= 1 or chances.random() < probability)


def rows_of(sample: Sample, height: int, width: int) -> Boxes:
    """A sample's boxes as fractions of (height, width), each with its label: float32 [N, 5]."""
    assert sample.boxes is not None
    assert sample.labels is not None
    boxes = sample.boxes.reshape(-1, 4)
    rows = np.empty((len(boxes), 5), np.float32)
    rows[:, :4] = (boxes.astype(np.float64) / (width, height, width, height)).clip(0, 1)
    rows[:, 4] = sample.labels
    return rows


def _mirrored(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """[H, W, 3] with left and right exchanged, in the layout that it came in."""
    planes = planes_of(image)
    if planes is None:
        return np.asarray(cv2.flip(image, 1), np.uint8)
    return by_plane(planes, planes.shape[1:], lambda plane, turned, _: cv2.flip(plane, 1, turned))


def _scaled(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """[h, w, 3] -> [H, W, 3], by the resize that every model's input goes through, which leaves planes."""
    if image.shape[:2] == size:
        return image
    if image.shape[0] <= size[0] and image.shape[1] <= size[1]:
        # Enlarged, there is nothing to be blurred: the same values but for rounding, in a third of the time.
        return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
    pixels = torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)
    return np.asarray(interpolated(pixels, size).permute(1, 2, 0).numpy(), np.uint8)
