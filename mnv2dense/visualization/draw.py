"""Boxes and classes on images, and images on sheets."""

from __future__ import annotations

import colorsys
import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from mnv2dense.types import Classification, Detections
from mnv2dense.utils.files import atomic_write
from mnv2dense.visualization.text import draw_tag, fitting_tag, paint_tag, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]
    Color = tuple[int, int, int]

# Okabe and Ito's colours, told apart with any colour vision (jfly.uni-koeln.de/color); a wine red stands in
# for their yellow, which is lost as a line on white.
_FIRST_COLORS = ("0072b2", "e69f00", "009e73", "cc79a7", "d55e00", "56b4e9", "882255")
_GOLDEN_RATIO = 0.618034
INK, FAINT_INK, PAPER = "#22272e", "#8b949e", "#ffffff"
"""Of text, of what is beside the point, and of the ground, in images and plots alike."""


def class_color(label: int) -> Color:
    """RGB of a class, the same in every image; grey for a region to ignore (a negative label)."""
    if label < 0:
        return (150, 150, 150)
    if label < len(_FIRST_COLORS):
        red, green, blue = bytes.fromhex(_FIRST_COLORS[label])
        return (red, green, blue)
    # Steps of the golden ratio never come close to an earlier hue; lightness tells apart what hue cannot.
    lightness = (0.42, 0.56, 0.3)[label % 3]
    rgb = colorsys.hls_to_rgb(label * _GOLDEN_RATIO % 1.0, lightness, 0.75)
    return (round(rgb[0] * 255), round(rgb[1] * 255), round(rgb[2] * 255))


def draw_detections(
    image: Pixels, detections: Detections, *, threshold: float = 0.0, show_scores: bool = True
) -> Pixels:
    """Boxes with a tag each ("dog 0.87") in the colour of their class, scaled to the image.

    Tracked boxes have their number ("dog 7 0.87") and, from frame to frame, the colour of their track.

    A tag that is wider than the image even in the smallest letters is left out.

    Args:
        image: uint8 [H, W, 3], RGB; left as it is.
        detections: in pixels of ``image``. A label below 0 is drawn grey and called "ignored".
        threshold: lowest score to draw, 0..1.
        show_scores: whether tags end in the score; off for ground truth.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ValueError: ``image`` is not uint8 [H, W, 3].
    """
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(checked_image(image))
    pen = ImageDraw.Draw(canvas)
    shown = detections.above(threshold).to("cpu")
    boxes, labels, scores = shown.boxes.tolist(), shown.labels.tolist(), shown.scores.tolist()
    tracks = [None] * len(shown) if shown.tracks is None else shown.tracks.tolist()
    colors = [class_color(label if track is None else track - 1) for label, track in zip(labels, tracks, strict=True)]
    side = math.sqrt(canvas.width * canvas.height)
    line = max(1, round(side / 220))
    letters = side / (30 if len(shown) <= 12 else 40)  # in a crowd, full-sized tags would hide the image

    for box, color in reversed(list(zip(boxes, colors, strict=True))):  # the best ends up on top
        left, top, right, bottom = _pixels(box, canvas.width, canvas.height)
        pen.rectangle((left, top, right, bottom), outline=color, width=line)

    taken = np.zeros((len(shown), 4), np.int64)
    rows = zip(boxes, labels, scores, tracks, colors, strict=True)
    for row, (box, label, score, track, color) in enumerate(rows):  # the best chooses its place first
        name = printable(shown.class_names[label]) if label >= 0 else "ignored"
        name = name if track is None else f"{name} {track}"
        text = f"{name} {score:.2f}" if show_scores else name
        place = _pixels(box, canvas.width, canvas.height)
        taken[row] = draw_tag(pen, text, color, place, taken[:row], letters)
    return np.asarray(canvas, dtype=np.uint8).copy()


def draw_classes(
    image: Pixels, classes: Classification | Sequence[Classification], *, limit: int = 3, show_scores: bool = True
) -> Pixels:
    """The likeliest classes as tags in the top left corner, one under the other.

    After the first, classes whose score would read 0.00 are left out.

    Args:
        image: uint8 [H, W, 3], RGB; left as it is.
        classes: of the whole image, likeliest first; those of several classifiers follow one another.
        limit: how many of each classifier to write at most.
        show_scores: whether tags end in the score; off for ground truth.

    Returns:
        uint8 [H, W, 3].
    """
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(checked_image(image))
    pen = ImageDraw.Draw(canvas)
    letters = math.sqrt(canvas.width * canvas.height) / 24
    several = [classes] if isinstance(classes, Classification) else classes
    listed = [each.top(limit).to("cpu") for each in several]
    rows = [enumerate(zip(each.names, each.labels.tolist(), each.scores.tolist(), strict=True)) for each in listed]
    top = 0
    for place, (name, label, score) in itertools.chain.from_iterable(rows):
        if place > 0 and show_scores and f"{score:.2f}" == "0.00":
            continue
        text = f"{printable(name)} {score:.2f}" if show_scores else printable(name)
        tag = fitting_tag(pen, text, letters)
        if tag is not None and top + tag.height <= canvas.height:
            paint_tag(pen, tag, text, class_color(label), (0, top))
            top += tag.height
    return np.asarray(canvas, dtype=np.uint8).copy()


def contact_sheet(images: Sequence[Pixels], *, columns: int = 2, gap: int = 12) -> Pixels:
    """Images in a grid on white, row by row, each in its own size at the top left of its cell.

    Args:
        images: uint8 [H, W, 3] each, of any sizes.
        columns: images in a row.
        gap: pixels between images and around them.

    Raises:
        ValueError: there are no images, or ``columns`` is below 1.
    """
    if not images or columns < 1:
        raise ValueError(f"{len(images)} images in {columns} columns make no sheet; give at least one of each.")
    columns = min(columns, len(images))
    rows = [images[start : start + columns] for start in range(0, len(images), columns)]
    widths = [max(checked_image(image).shape[1] for image in images[k::columns]) for k in range(columns)]
    heights = [max(image.shape[0] for image in row) for row in rows]
    sheet = np.full((sum(heights) + gap * (len(rows) + 1), sum(widths) + gap * (columns + 1), 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for k, image in enumerate(row):
            height, width = image.shape[:2]
            top = sum(heights[:i]) + gap * (i + 1)
            left = sum(widths[:k]) + gap * (k + 1)
            sheet[top : top + height, left : left + width] = image
    return sheet


LONGEST_SIDE: Final = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535}
"""Of an image in these formats, pixels."""


def save_image(image: Pixels, path: str | Path) -> Path:
    """Write uint8 [H, W, 3] in the format of the path's suffix, whole or not at all; its folder is made.

    Raises:
        ValueError: not an image, a suffix that no image format has, or a side that the format cannot hold.
        OSError: the file cannot be written; what was there still is, and nothing lies beside it.
    """
    from PIL import Image

    path = Path(path)
    made = Image.fromarray(checked_image(image))
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise ValueError(f"{path}: the suffix names the format, as in {path.stem or 'result'}.jpg or .png.")
    if max(made.size) > (longest := LONGEST_SIDE.get(kind, max(made.size))):
        raise ValueError(
            f"{path}: {made.width}x{made.height} pixels, but a side of a {kind} has {longest:,} at most; save it as "
            f"{path.stem}.png, or smaller."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, sync=False) as file:
        made.save(file, format=kind, quality=92)
    return path


def checked_image(image: Pixels) -> Pixels:
    """The same; raises a ValueError unless it is uint8 [H, W, 3] with at least one pixel."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(
            f"an image is {image.dtype} {list(image.shape)}, but must be uint8 [H, W, 3]; "
            "for a tensor [3, H, W] use tensor.permute(1, 2, 0).cpu().numpy()."
        )
    return image


def _pixels(box: Sequence[float], width: int, height: int) -> tuple[int, int, int, int]:
    """The first and last column and row that a box covers, at least one pixel, within the image."""
    left, top = (min(max(round(low), 0), size - 1) for low, size in ((box[0], width), (box[1], height)))
    right, bottom = (min(max(round(high), 1), size) - 1 for high, size in ((box[2], width), (box[3], height)))
    return left, top, max(right, left), max(bottom, top)
