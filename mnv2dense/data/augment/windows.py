"""Zoom-out and crop as one idea: which window of the plane, with the image somewhere in it, to look at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mnv2dense.data.augment.planes import by_plane, planes_of
from mnv2dense.ops.numpy_boxes import pairwise_iou
from mnv2dense.ops.windows import Window
from mnv2dense.types import IGNORE_INDEX, IGNORE_LABEL

Boxes = npt.NDArray[np.floating[Any]]

# A zoomed-out image is drawn no larger than this (or than it was): sixteen times the pixels of a photo
# would only be shrunk again for the model's input.
_MAX_CANVAS_PIXELS = 640 * 640

# Windows tried for all minimum overlaps together; the paper's authors try 50 for each.
_WINDOW_TRIALS = 50


def zoom_out_window(height: int, width: int, ratio: float, rng: np.random.Generator) -> Window:
    """A canvas of ``ratio`` times the image's sides, the image anywhere in it (SSD, section 3.6)."""
    canvas_height, canvas_width = round(height * ratio), round(width * ratio)
    top = -int(rng.integers(0, canvas_height - height + 1))
    left = -int(rng.integers(0, canvas_width - width + 1))
    return Window(left, top, left + canvas_width, top + canvas_height)


def crop_window(canvas: Window, objects: Boxes, minimum_overlaps: Sequence[float], rng: np.random.Generator) -> Window:
    """Choose a crop of ``canvas`` by the SSD paper's rule (section 2.2).

    Sides are 0.3 to 1 times those of the canvas, at an aspect ratio of 1/2 to 2 times its own. The minimum
    overlaps are tried in random order, until a window reaches one of them.

    Args:
        canvas: what may be cropped.
        objects: [N, 4], xyxy in the same pixels, N >= 1.
        minimum_overlaps: 0..1; 1 stands for the whole canvas.
        rng: the only source of chance.

    Returns:
        A window within ``canvas`` that holds the centre of at least one object, or ``canvas``.
    """
    windows = _random_windows(canvas, rng)
    minima = rng.permutation(minimum_overlaps).tolist()
    if minima[0] >= 1:
        return canvas
    overlaps = pairwise_iou(windows, objects).max(axis=1)
    overlaps[~centres_inside(windows, objects).any(axis=1)] = -1  # below every minimum
    for minimum in minima:
        if minimum >= 1:
            return canvas
        (good,) = np.nonzero(overlaps >= minimum)
        if len(good):
            return Window(*windows[good[0]].tolist())
    return canvas


def centres_inside(windows: npt.NDArray[np.number[Any]], boxes: Boxes) -> npt.NDArray[np.bool_]:
    """Whether each box' centre lies in each window: [T, 4] and [N, 4], both xyxy -> [T, N]."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = (windows[:, None, :2] <= centres) & (centres < windows[:, None, 2:])
    return np.asarray(inside.all(axis=-1))


class View:
    """How a window is drawn: which part of the image is in it, where that part lies on the canvas.

    Args:
        window: what is looked at, in pixels of the image.
        height: of the image, pixels.
        width: of the image, pixels.
        size: (height, width) of the canvas; None draws the window as large as it is, or a zoomed-out one smaller.

    Attributes:
        part: the visible part, in pixels of the image.
        size: (height, width) of the canvas.
        place: the same part, in whole pixels of the canvas.
        shrink: canvas pixels per pixel of the window, 0..1, where no size was given.
    """

    def __init__(self, window: Window, height: int, width: int, size: tuple[int, int] | None = None) -> None:
        self.window = window
        self.image_sides = (width, height, width, height)
        self.part = Window(
            max(0, window.left), max(0, window.top), min(width, window.right), min(height, window.bottom)
        )
        columns, rows = window.right - window.left, window.bottom - window.top
        self.shrink = min(1.0, math.sqrt(max(height * width, _MAX_CANVAS_PIXELS) / (rows * columns)))
        self.size = size or (max(1, round(rows * self.shrink)), max(1, round(columns * self.shrink)))
        across, down = (self.shrink,) * 2 if size is None else (size[1] / columns, size[0] / rows)
        left, right = _placed(self.part.left - window.left, self.part.right - window.left, across, self.size[1])
        top, bottom = _placed(self.part.top - window.top, self.part.bottom - window.top, down, self.size[0])
        self.place = Window(left, top, right, bottom)

    def of_image(self, image: npt.NDArray[np.uint8], fill: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        """Image, uint8 [H, W, 3] -> the window on it, ``fill`` (RGB) where it has no image."""
        return self.placed(self.scaled(self.part_of(image)), fill)

    def of_mask(self, mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Mask, uint8 [H, W] or of up to four channels -> the window on it, ``IGNORE_INDEX`` where it has none."""
        return self.placed(self.scaled(self.part_of(mask), cv2.INTER_NEAREST_EXACT), (IGNORE_INDEX,) * 4)

    def of_rows(self, rows: Boxes) -> Boxes:
        """Rows of (box as a fraction of the image, label), [N, 5] -> those still there, of the canvas."""
        boxes = rows[:, :4] * self.image_sides
        window = np.array([self.window])
        visible = np.minimum(boxes[:, 2:], window[:, 2:]) > np.maximum(boxes[:, :2], window[:, :2])
        # An object belongs to the crop that has its centre; a region to ignore is one wherever it is seen.
        keep = np.where(rows[:, 4] == IGNORE_LABEL, visible.all(axis=1), centres_inside(window, boxes)[0])
        kept = rows[keep]
        origin = np.array((self.part.left, self.part.top) * 2)
        target = np.array((self.place.left, self.place.top) * 2)
        height, width = self.place_size
        scale = np.array((width / (self.part.right - self.part.left), height / (self.part.bottom - self.part.top)) * 2)
        on_canvas = ((boxes[keep] - origin) * scale + target) / (self.size[::-1] * 2)
        kept[:, :4] = on_canvas.clip(0, 1)
        return np.asarray(kept)

    def part_of(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The visible part of an image or a mask, not copied."""
        return image[self.part.top : self.part.bottom, self.part.left : self.part.right]

    @property
    def place_size(self) -> tuple[int, int]:
        """(height, width) of that part on the canvas."""
        return self.place.bottom - self.place.top, self.place.right - self.place.left

    def placed(self, part: npt.NDArray[np.uint8], fill: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        """The canvas, with the part, which is of :attr:`place_size`, in its place."""
        if self.place_size == self.size:
            return part
        # Many times faster than numpy's broadcast of a colour.
        place, bottom, right = self.place, self.size[0] - self.place.bottom, self.size[1] - self.place.right
        border = (place.top, bottom, place.left, right, cv2.BORDER_CONSTANT)
        planes = planes_of(part)
        if planes is None:
            return np.asarray(cv2.copyMakeBorder(part, *border, value=fill), np.uint8)
        return by_plane(planes, self.size, lambda own, all_, k: cv2.copyMakeBorder(own, *border, all_, value=fill[k]))

    def scaled(self, part: npt.NDArray[np.uint8], interpolation: int | None = None) -> npt.NDArray[np.uint8]:
        """The part at :attr:`place_size`."""
        if self.place_size == part.shape[:2]:
            return part
        if interpolation is None:
            # Bilinear taps cover a shrink to a half; beyond, averages keep fine texture from aliasing.
            interpolation = cv2.INTER_LINEAR if self.shrink >= 0.5 else cv2.INTER_AREA
        return np.asarray(cv2.resize(part, self.place_size[::-1], interpolation=interpolation), np.uint8)


def _placed(low: int, high: int, scale: float, limit: int) -> tuple[int, int]:
    """An interval of the window on its canvas: at least one pixel, within ``limit``."""
    start = min(round(low * scale), limit - 1)
    return start, max(start + 1, min(round(high * scale), limit))


def _random_windows(canvas: Window, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Candidates for a crop, [T, 4], xyxy: see :func:`crop_window` for their sides."""
    sides = rng.uniform(0.3, 1.0, size=(_WINDOW_TRIALS, 2))
    places = rng.uniform(0.0, 1.0, size=(_WINDOW_TRIALS, 2))
    ratios = sides[:, 0] / sides[:, 1]
    fair = (ratios >= 0.5) & (ratios <= 2.0)
    extent = np.array([canvas.right - canvas.left, canvas.bottom - canvas.top])
    lengths = np.maximum(1, np.rint(sides[fair] * extent)).astype(np.int64)
    starts = np.floor(places[fair] * (extent - lengths + 1)).astype(np.int64)
    starts += (canvas.left, canvas.top)
    return np.concatenate((starts, starts + lengths), axis=1)
