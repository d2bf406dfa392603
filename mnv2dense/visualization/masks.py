"""The class of every pixel: as colours over an image, and as an image of its own."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnv2dense.types import IGNORE_INDEX, Segmentation
from mnv2dense.utils.files import atomic_write
from mnv2dense.utils.numbers import is_number
from mnv2dense.visualization.draw import checked_image
from mnv2dense.visualization.palettes import check_palette, legend_of, mask_color
from mnv2dense.visualization.text import Tag, fitting_tag, paint_tag, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image, ImageDraw

    from mnv2dense.visualization.draw import Color, Pixels
    from mnv2dense.visualization.palettes import PaletteChoice

MASK_OPACITY = 0.55
"""Strong enough to tell colours apart, weak enough to see what lies under them."""


# A legend with more rows would hide the image; the smallest classes go without a name.
LEGEND_ROWS = 12
"""Of all masks on an image together."""

# What blending makes of pixels on the way takes forty times their memory.
_BAND_PIXELS = 2**20


def check_opacity(opacity: float) -> None:
    """Raise a ValueError unless ``opacity`` is a number from 0 to 1."""
    if not is_number(opacity) or not 0 <= opacity <= 1:
        raise ValueError(
            f"opacity={opacity}: a number from 0 (outlines alone) to 1 (plain colours) is needed; "
            f"{MASK_OPACITY} is a good start."
        )


def draw_masks(
    image: Pixels,
    masks: Segmentation,
    *,
    opacity: float = MASK_OPACITY,
    legend: bool = True,
    outline: bool = True,
    palette: PaletteChoice = "auto",
) -> Pixels:
    """The class of every pixel as a colour over the image, with a legend of the classes that are there.

    A class called "background" is left clear, and so is what is ignored.

    Args:
        image: uint8 [H, W, 3], RGB; left as it is.
        masks: in pixels of ``image``.
        opacity: of the colours, 0..1.
        legend: whether to name the colours in the image's lower left corner, in the order of the classes.
        outline: whether to draw a line where classes meet.
        palette: the data set's colours or safe ones, see :data:`mnv2dense.visualization.palettes.PaletteChoice`.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ValueError: not an image, masks of another size, an opacity outside 0..1, or no such palette.
    """
    check_opacity(opacity)
    check_palette(palette)
    labels = masks.labels.cpu().numpy()
    if labels.shape != checked_image(image).shape[:2]:
        raise ValueError(f"masks of {list(labels.shape)} pixels for an image of {list(image.shape[:2])}.")
    colors = np.zeros((256, 3), np.float32)
    weights = np.zeros(256, np.float32)
    for label, name in enumerate(masks.class_names):
        colors[label] = mask_color(masks, label, palette=palette)
        weights[label] = 0.0 if name == "background" else opacity
    blended, rows = np.empty(image.shape, np.uint8), max(1, _BAND_PIXELS // image.shape[1])
    for top in range(0, len(image), rows):
        band = labels[top : top + rows]
        weight = weights[band][..., None]
        blended[top : top + rows] = image[top : top + rows] * (1 - weight) + colors[band] * weight + 0.5
    if outline:
        edge = np.zeros(labels.shape, np.bool_)
        edge[:, 1:] = labels[:, 1:] != labels[:, :-1]
        edge[1:] |= labels[1:] != labels[:-1]
        blended[edge] = 255
    return paint_legend(blended, largest_classes(masks, palette=palette)) if legend else blended


def save_labels(masks: Segmentation, path: str | Path) -> Path:
    """Write the class of every pixel as a palette PNG, values 0..K-1 as VOC's are; whole or not at all.

    Raises:
        OSError: the file cannot be written; what was there still is, and nothing lies beside it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, sync=False) as file:
        _label_image(masks).save(file, format="PNG")
    return path


def labels_as_png(masks: Segmentation) -> bytes:
    """What :func:`save_labels` writes, for files that hold more than one image."""
    file = io.BytesIO()
    _label_image(masks).save(file, format="PNG")
    return file.getvalue()


def _label_image(masks: Segmentation) -> Image.Image:
    from PIL import Image

    image = Image.fromarray(masks.labels.cpu().numpy()).convert("P")
    palette = np.full((256, 3), 255, np.uint8)  # whole, or Pillow would renumber the values that have no colour
    for label in range(len(masks.class_names)):
        palette[label] = mask_color(masks, label, palette="data")
    image.putpalette(palette.tobytes())
    return image


def legend_strip(entries: Sequence[tuple[str, Color]], width: int) -> Pixels:
    """The names of classes on tags of their colours, in rows, on white; names that are too long are cut.

    Args:
        entries: name and RGB, in the order to show.
        width: of the strip, pixels.

    Returns:
        uint8 [H, width, 3]; of no entries one without rows.
    """
    from PIL import Image, ImageDraw

    letters, gap = max(14.0, width / 90), 6  # a wide sheet is looked at from further away
    pen = ImageDraw.Draw(Image.new("RGB", (max(width, 1), 64)))
    placed = []
    left = top = height = 0
    for name, color in entries:
        text, tag = _cut(pen, name, letters)
        if tag is None:
            continue
        height = tag.height
        if left and left + tag.width > width:
            left, top = 0, top + height + gap
        placed.append((text, tag, color, (left, top)))
        left += tag.width + gap
    if not placed:
        return np.full((0, width, 3), 255, np.uint8)
    canvas = Image.new("RGB", (width, top + height), "#ffffff")
    pen = ImageDraw.Draw(canvas)
    for text, tag, color, corner in placed:
        paint_tag(pen, tag, text, color, corner)
    return np.asarray(canvas, dtype=np.uint8).copy()


def _cut(pen: ImageDraw.ImageDraw, name: str, letters: float) -> tuple[str, Tag | None]:
    """The name as it fits, its end replaced by an ellipsis if need be."""
    name = printable(name)
    tag = fitting_tag(pen, name, letters)
    while tag is None and len(name) > 1:
        name = name.removesuffix("\u2026")[:-1] + "\u2026"
        tag = fitting_tag(pen, name, letters)
    return name, tag


def largest_classes(
    masks: Segmentation, *, palette: PaletteChoice = "auto", limit: int = LEGEND_ROWS
) -> list[tuple[str, Color]]:
    """Names and colours of the classes that masks show most of, at most ``limit``, in the order of the classes."""
    counts = masks.labels.cpu().flatten().bincount(minlength=256).numpy()  # numpy's makes 64 bits of every value
    counts[IGNORE_INDEX] = 0
    largest = [int(label) for label in np.argsort(-counts, kind="stable") if counts[label] > 0]
    named = [label for label in largest if masks.class_names[label] != "background"][:limit]
    return legend_of(masks, set(named), palette=palette)


def paint_legend(image: Pixels, entries: Sequence[tuple[str, Color]]) -> Pixels:
    """Names on tags of their colours in an image's lower left corner, one under the other.

    Args:
        image: uint8 [H, W, 3], RGB; left as it is.
        entries: name and RGB; those at the end stay where there is no room for all.
    """
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    letters = min(math.sqrt(canvas.width * canvas.height) / 34, canvas.height / (2.2 * max(1, len(entries))))
    bottom = canvas.height
    for name, color in reversed(entries):
        text, tag = _cut(pen, name, letters)
        if tag is not None and bottom >= tag.height:
            bottom -= tag.height
            paint_tag(pen, tag, text, color, (0, bottom))
    return np.asarray(canvas, dtype=np.uint8).copy()
