"""A film of the embedded shapes, of which it is known where each is and how much of it shows."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.data.shapes.drawing import SHAPE_CLASSES, _background, _cover, _paint, _Spot
from mnv2dense.io.video import Frame, VideoWriter

RATE = Fraction(30)


class Truth(NamedTuple):
    """One frame.

    Attributes:
        pixels: uint8 [H, W, 3].
        boxes: [N, 4], xyxy of all of each shape, whatever hides it; always in the frame.
        visible: [N], the share of its pixels that shows.
        labels: [N], of :data:`SHAPE_CLASSES`; the rows of all frames are the same shapes.
    """

    pixels: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float64]
    visible: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]


def moving_shapes(
    *, seed: int = 0, count: int = 10, frames: int = 300, size: tuple[int, int] = (240, 320), is_drawn: bool = True
) -> Iterator[Truth]:
    """Shapes that go straight on, over and under each other, and turn back at the edges.

    Args:
        seed: decides everything.
        count: of shapes.
        frames: of the film.
        size: (height, width), pixels.
        is_drawn: False leaves the pixels black.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    labels = rng.integers(len(SHAPE_CLASSES), size=count)
    sprites = [_sprite(rng, int(label), rng.uniform(34, 38)) for label in labels]
    sides = np.array([_extent(cover) for _, cover in sprites])
    middles = rng.uniform(sides / 2, np.array([width, height]) - sides / 2)
    angles = rng.uniform(0, 2 * np.pi, count)
    steps = np.stack([np.cos(angles), np.sin(angles)], axis=1) * rng.uniform(1.0, 2.5, (count, 1))
    ground = _background(rng, height, width).clip(0, 255) * np.float32(is_drawn)
    for _ in range(frames):
        canvas, owners = ground.copy(), np.full(size, -1)
        for number, ((sprite, cover), (x, y)) in enumerate(zip(sprites, middles, strict=True)):
            spot = _Spot(round(x), round(y), len(cover), height, width)
            if is_drawn:
                canvas[spot.frame] += cover[spot.patch][..., None] * (sprite[spot.patch] - canvas[spot.frame])
            owners[spot.frame][cover[spot.patch] > 0.5] = number
        whole = np.array([(cover > 0.5).sum() for _, cover in sprites])
        shown = np.bincount(owners[owners >= 0], minlength=count)
        rounded = np.round(middles)
        boxes = np.concatenate([rounded - sides / 2, rounded + sides / 2], axis=1)
        yield Truth(canvas.astype(np.uint8), boxes, shown / whole, labels)
        beyond = (middles + steps < sides / 2) | (middles + steps > np.array([width, height]) - sides / 2)
        steps = np.where(beyond, -steps, steps)
        middles = middles + steps


def film_of(truth: Iterator[Truth], path: Path) -> list[Truth]:
    """Write the frames as a video of :data:`RATE`; they are returned without their pixels."""
    kept = []
    with VideoWriter(path, time_base=1 / (RATE * 1000), rate=RATE) as video:
        for number, frame in enumerate(truth):
            video.write(Frame(frame.pixels, number, number / RATE))
            kept.append(frame._replace(pixels=np.zeros((0, 0, 3), np.uint8)))
    return kept


def _sprite(
    rng: np.random.Generator, label: int, radius: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """A shape's colours [side, side, 3], and how much of each pixel it covers [side, side]."""
    cover = _cover(rng, label, radius)
    side = len(cover)
    canvas = np.full((side, side, 3), 127, np.float32)
    _paint(rng, canvas, cover, _Spot(side // 2, side // 2, side, side, side), radius)
    return canvas.clip(0, 255), cover


def _extent(cover: npt.NDArray[np.float32]) -> tuple[int, int]:
    """Width and height of a box around the middle of the patch that holds the shape."""
    rows, columns = np.flatnonzero((cover > 0.5).any(axis=1)), np.flatnonzero((cover > 0.5).any(axis=0))
    middle = len(cover) // 2
    return tuple(2 * max(middle - int(at[0]), int(at[-1]) + 1 - middle) for at in (columns, rows))  # type: ignore[return-value]
