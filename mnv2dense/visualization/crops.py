"""What is worth looking at, cut out of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from mnv2dense.visualization.draw import checked_image, class_color
from mnv2dense.visualization.text import draw_tag, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from mnv2dense.visualization.draw import Color, Pixels

TRUE_COLOR: Final[Color] = class_color(2)
FOUND_COLOR: Final[Color] = class_color(1)

_SIDE = 320
_LEAST = 48
_MARGIN = 0.35


class Window(NamedTuple):
    """A part of an image: its upper left corner, its size in pixels, and by what it is enlarged to be looked at."""

    left: int
    top: int
    width: int
    height: int
    scale: float

    def cut(self, image: Pixels, *, smooth: bool = True) -> Pixels:
        """The part as it is shown; without ``smooth`` every pixel keeps its value."""
        from PIL import Image

        part = image[self.top : self.top + self.height, self.left : self.left + self.width]
        size = (max(1, round(self.width * self.scale)), max(1, round(self.height * self.scale)))
        kind = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
        return np.asarray(Image.fromarray(part).resize(size, kind), np.uint8)

    def place(self, box: npt.ArrayLike) -> tuple[int, int, int, int]:
        """Where a box of the image is in the part, to the pixel."""
        x1, y1, x2, y2 = (np.asarray(box, float) - (self.left, self.top) * 2) * self.scale
        return round(x1), round(y1), max(round(x2) - 1, round(x1)), max(round(y2) - 1, round(y1))


def window_around(boxes: Sequence[npt.ArrayLike], shape: tuple[int, ...]) -> Window:
    """The part of an image of this shape that shows these boxes, xyxy, and a third of their size around them.

    It is at least 48 pixels high and wide where the image is, and as large on the screen whatever it shows: 320 pixels
    on its longer side.
    """
    table = np.array(boxes, float).reshape(-1, 4)
    low, high = table[:, :2].min(axis=0), table[:, 2:].max(axis=0)
    middle, half = (low + high) / 2, np.maximum((high - low) * (0.5 + _MARGIN), _LEAST / 2)
    bounds = np.array([shape[1], shape[0]])
    first = np.clip(np.floor(middle - half), 0, bounds - 1).astype(int)
    last = np.clip(np.ceil(middle + half), first + 1, bounds).astype(int)
    width, height = (int(side) for side in last - first)
    return Window(int(first[0]), int(first[1]), width, height, _SIDE / max(width, height))


def draw_case(
    image: Pixels, found: Sequence[tuple[npt.ArrayLike, str]], truth: Sequence[tuple[npt.ArrayLike, str]]
) -> Pixels:
    """What is around some boxes: those that were found in orange, the true ones in green, each with its words.

    Args:
        image: uint8 [H, W, 3], RGB; left as it is.
        found: xyxy in pixels of ``image``, and what its tag says.
        truth: likewise.

    Returns:
        uint8 [h, w, 3], of 320 pixels on its longer side.
    """
    from PIL import Image, ImageDraw

    window = window_around([box for box, _ in (*found, *truth)], checked_image(image).shape)
    canvas = Image.fromarray(window.cut(image))
    pen = ImageDraw.Draw(canvas)
    kinds = ((truth, TRUE_COLOR), (found, FOUND_COLOR))
    for boxes, color in kinds:
        for box, _ in boxes:
            pen.rectangle(window.place(box), outline=color, width=3)
    taken = np.zeros((0, 4), np.int64)
    for boxes, color in reversed(kinds):
        for box, text in boxes:
            tag = draw_tag(pen, printable(text), color, window.place(box), taken, 13)
            taken = np.vstack([taken, tag])
    return np.asarray(canvas, np.uint8).copy()
