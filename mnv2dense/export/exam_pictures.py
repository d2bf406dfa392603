"""The pictures of an exam: drawn, or somebody's own, small, and those on which the model's answers differ most."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnv2dense.data.shapes.drawing import draw_image
from mnv2dense.export.calibration import Pixels, images_of_folder
from mnv2dense.runtimes.exam import LONGEST_SIDE

CANDIDATES = 64
"""So many pictures are looked at to choose a few."""

# Of a picture, so that it is a few kilobytes.
_COLOURS = 32

# Sides whose proportion is nearer to the input's than this do not tell one way of resizing from another.
_LEAST_STRETCH = 1.08


def small_pictures(
    images: str | Path | None, size: tuple[int, int], count: int = CANDIDATES, *, fewest: int = 1
) -> list[bytes]:
    """PNGs of palettes, at most 160 pixels a side, of other proportions than the input where there are such.

    Args:
        images: a folder; None draws shapes.
        size: (height, width) of the input, pixels.
        count: how many are looked at.
        fewest: where fewer are of other proportions, all are taken.
    """
    found = list(_drawn(count) if images is None else map(_shrunk, images_of_folder(images, count)))
    wanted = size[1] / size[0]
    told = [image for image in found if _stretch(image, wanted) >= _LEAST_STRETCH]
    return [_png(image) for image in (told if len(told) >= fewest else found)]


def most_different(answers: npt.NDArray[np.float64], count: int) -> list[int]:
    """Indices of rows that differ: the one farthest from the mean, then each time the one farthest from those taken.

    Args:
        answers: [N, D].
        count: at most so many.
    """
    spread = answers.std(axis=0)
    scaled = (answers - answers.mean(axis=0)) / np.where(spread > 0, spread, 1)
    nearest = (scaled**2).sum(axis=1)
    taken: list[int] = []
    while len(taken) < min(count, len(answers)):
        taken.append(int(nearest.argmax()))
        apart = ((scaled - scaled[taken[-1]]) ** 2).sum(axis=1)
        nearest = apart if len(taken) == 1 else np.minimum(nearest, apart)
        nearest[taken] = -1
    return taken


def best_places(values: npt.NDArray[np.float64], count: int) -> list[int]:
    """Where answers vary most, ascending; of equal ones some that are spread over all.

    Args:
        values: of one output, [answers, places of the tensor].
        count: at most so many.
    """
    spread = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).std(axis=0)
    ties = np.random.default_rng(0).permutation(len(spread))
    return sorted(np.lexsort((ties, -spread))[:count].tolist())


def _drawn(count: int) -> Iterator[Pixels]:
    import cv2

    for number in range(count):
        image = draw_image(np.random.default_rng([29, number]), size=288)[0]
        height, width = image.shape[:2]
        # A mean of nine pixels takes most of the drawing's noise away, which would make the file large.
        yield np.asarray(cv2.resize(image, (width // 3, height // 3), interpolation=cv2.INTER_AREA), np.uint8)


def _shrunk(image: Pixels) -> Pixels:
    import cv2

    scale = LONGEST_SIDE / max(image.shape[:2])
    if scale >= 1:
        return image
    sides = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    return np.asarray(cv2.resize(image, sides, interpolation=cv2.INTER_AREA), np.uint8)


def _stretch(image: Pixels, wanted: float) -> float:
    proportion = image.shape[1] / image.shape[0] / wanted
    return float(max(proportion, 1 / proportion))


def _png(image: Pixels) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    # Bits are given, as few colours would be packed into fewer, which small readers do not take.
    Image.fromarray(image).quantize(_COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True, bits=8)
    return file.getvalue()
