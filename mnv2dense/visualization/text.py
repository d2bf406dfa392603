"""Words on filled tags, as large as fits and off each other if there is room."""

from __future__ import annotations

import functools
import importlib.util
import math
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import ImageDraw, ImageFont

    Color = tuple[int, int, int]
    Places = npt.NDArray[np.int64]


# What no font has a letter for: control characters, halves of surrogate pairs, breaks of lines and paragraphs.
_UNDRAWN = ("Cc", "Cs", "Zl", "Zp")
_LONGEST = 60


def printable(name: str) -> str:
    """A name as it can be drawn, whatever somebody called a class: one line, in letters, of a length that is read."""
    drawn = "".join("\ufffd" if unicodedata.category(letter) in _UNDRAWN else letter for letter in name)
    return drawn if len(drawn) <= _LONGEST else f"{drawn[: _LONGEST - 3]}..."


class Tag(NamedTuple):
    """The letters of a tag, and its width, height and inner margin in pixels."""

    font: ImageFont.FreeTypeFont
    width: int
    height: int
    padding: int


def draw_tag(
    pen: ImageDraw.ImageDraw,
    text: str,
    color: Color,
    box: tuple[int, int, int, int],
    taken: Places,
    size: float,
) -> tuple[int, int, int, int]:
    """Write ``text`` on a filled tag at a corner of ``box``, off the tags at ``taken`` [N, 4] if there is room.

    Returns:
        Where the tag is; nothing at all, at the origin, where there is none, as the image is too small for it.
    """
    tag = fitting_tag(pen, text, size)
    if tag is None:
        return (0, 0, 0, 0)
    image_width, image_height = pen.im.size
    left, top, right, bottom = box
    corners = (
        (left, top - tag.height),  # above the box, as readers expect
        (left, top),
        (right - tag.width + 1, top - tag.height),
        (left, bottom + 1),
        (right - tag.width + 1, bottom - tag.height + 1),
        (left, bottom - tag.height + 1),
    )
    places = []
    for x, y in corners:
        x, y = min(max(x, 0), image_width - tag.width), min(max(y, 0), image_height - tag.height)
        places.append((x, y, x + tag.width, y + tag.height))
    place = places[int(_hidden(np.array(places), taken).argmin())]
    paint_tag(pen, tag, text, color, (place[0], place[1]))
    return place


def fitting_tag(pen: ImageDraw.ImageDraw, text: str, size: float) -> Tag | None:
    """The largest letters up to ``size`` points in which the text fits the image, if there are any."""
    image_width, image_height = pen.im.size
    for points in range(min(max(round(size), 10), 40), 7, -1):
        font = font_of(points)
        padding = max(2, points // 5)
        tag = Tag(font, math.ceil(font.getlength(text)) + 2 * padding, sum(font.getmetrics()), padding)
        if tag.width <= image_width and tag.height <= image_height:
            return tag
    return None


def paint_tag(pen: ImageDraw.ImageDraw, tag: Tag, text: str, color: Color, corner: tuple[int, int]) -> None:
    """Fill a tag and write on it; ``corner`` is its upper left, (x, y)."""
    x, y = corner
    pen.rectangle((x, y, x + tag.width - 1, y + tag.height - 1), fill=color)
    pen.text((x + tag.padding, y), text, font=tag.font, fill=_text_color(color), anchor="la")


def _hidden(places: Places, taken: Places) -> Places:
    """Of each of [M, 4] how many pixels the [N, 4] hide, counted again for each that does."""
    sides = np.minimum(places[:, None, 2:], taken[:, 2:]) - np.maximum(places[:, None, :2], taken[:, :2])
    hidden: Places = sides.clip(min=0).prod(axis=2).sum(axis=1)
    return hidden


def luminance(color: Color) -> float:
    """Relative luminance, 0..1 (WCAG 2.1)."""
    red, green, blue = (((c / 255 + 0.055) / 1.055) ** 2.4 if c > 10 else c / 255 / 12.92 for c in color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _text_color(background: Color) -> Color:
    """Black or white, whichever stands out more (WCAG 2.1, contrast ratio)."""
    return (0, 0, 0) if luminance(background) > 0.179 else (255, 255, 255)  # where both contrasts are equal


@functools.lru_cache(maxsize=64)
def font_of(points: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and knows Latin, Greek, Cyrillic, Arabic and more."""
    from PIL import ImageFont

    return ImageFont.truetype(str(_font_file()), points)


@functools.cache
def _font_file() -> Path:
    # Where matplotlib is, without importing it: that takes longer than drawing.
    spec = importlib.util.find_spec("matplotlib")
    file = Path((spec and spec.origin) or "", "..", "mpl-data", "fonts", "ttf", "DejaVuSans.ttf").resolve()
    if file.is_file():
        return file
    import matplotlib  # a distribution may keep its data elsewhere

    return Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
