"""The line and the zone that objects are counted by, and their counts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mnv2dense.visualization.draw import INK, PAPER, checked_image
from mnv2dense.visualization.text import fitting_tag, paint_tag

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import ImageDraw

    from mnv2dense.visualization.draw import Pixels

    Points = npt.NDArray[np.float64]

_DARK = (34, 39, 46)  # INK, as tags are given colours
# Of the arrow, as a share of the root of the image's pixels.
_ARROW = 0.05


def draw_line(image: Pixels, points: Points, into: int, out: int) -> Pixels:
    """A line with an arrow to the side that counts as "in", and both counts at its first point.

    Args:
        image: uint8 [H, W, 3], RGB; left as it is.
        points: its two ends [2, 2], (x, y) in pixels.
        into: objects that crossed it towards the arrow.
        out: those that crossed it the other way.
    """
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(checked_image(image))
    pen = ImageDraw.Draw(canvas)
    side = math.sqrt(canvas.width * canvas.height)
    width = max(2, round(side / 160))
    start, end = points
    _stroke(pen, [start, end], width)
    along = (end - start) / max(float(np.hypot(*(end - start))), 1e-9)
    right = np.array([-along[1], along[0]])  # y grows downwards
    foot, reach = (start + end) / 2, side * _ARROW
    tip = foot + right * reach
    wings = [tip - right * reach / 2 + along * reach * share for share in (0.4, -0.4)]
    _stroke(pen, [foot, tip], width)
    _stroke(pen, [wings[0], tip, wings[1]], width)
    _tag(pen, f"in {into}   out {out}", start, side)
    return np.asarray(canvas, dtype=np.uint8).copy()


def draw_zone(image: Pixels, corners: Points, now: int, total: int) -> Pixels:
    """The outline of a zone, with how many objects are in it and how many were.

    Args:
        image: uint8 [H, W, 3], RGB; left as it is.
        corners: [N, 2], (x, y) in pixels.
        now: objects inside.
        total: objects that were inside.
    """
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(checked_image(image))
    pen = ImageDraw.Draw(canvas)
    side = math.sqrt(canvas.width * canvas.height)
    _stroke(pen, [*corners, corners[0]], max(2, round(side / 160)))
    _tag(pen, f"{now} here   {total} in all", corners[corners.sum(axis=1).argmin()], side)
    return np.asarray(canvas, dtype=np.uint8).copy()


def _stroke(pen: ImageDraw.ImageDraw, points: list[Points], width: int) -> None:
    """Dark on a light rim, to be seen on any ground."""
    path = [(float(x), float(y)) for x, y in points]
    pen.line(path, fill=PAPER, width=width + 2, joint="curve")
    pen.line(path, fill=INK, width=width, joint="curve")


def _tag(pen: ImageDraw.ImageDraw, text: str, corner: Points, side: float) -> None:
    """Words within the image, their upper left at ``corner`` if there is room."""
    tag = fitting_tag(pen, text, side / 24)
    if tag is None:
        return
    width, height = pen.im.size
    x = round(min(max(corner[0], 0), width - tag.width))
    y = round(min(max(corner[1], 0), height - tag.height))
    paint_tag(pen, tag, text, _DARK, (x, y))
