"""Mask files: the class of every pixel, checked before anybody trains on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.data.pictures import PictureError, picture_size
from mnv2dense.types import IGNORE_INDEX

Mask = npt.NDArray[np.uint8]


class MaskRules(NamedTuple):
    """How the values of mask files become classes.

    Attributes:
        class_count: K; classes are 0..K-1.
        ignored: values that count nowhere, besides 255.
        values: value of the file -> class, for files that are numbered otherwise; what it does not name is ignored.
            None takes values as they are.
        colors: RGB -> class, for masks that are coloured pictures; None reads numbers.
    """

    class_count: int
    ignored: tuple[int, ...] = ()
    values: Mapping[int, int] | None = None
    colors: Mapping[tuple[int, int, int], int] | None = None


def read_mask(path: Path, rules: MaskRules) -> Mask:
    """Read a gray or palette PNG (its numbers, not its colours), or a coloured one by ``rules.colors``.

    Returns:
        uint8 [H, W], 0..K-1, 255 ignored.

    Raises:
        ValueError: a JPEG, whose values are not what was saved; damaged; or a value that is no class, naming the pixel.
        OSError: the file is missing or may not be read.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.format == "JPEG":
                raise PictureError(
                    f"{path}: a mask saved as JPEG has lost its values: compression blends classes where they meet. "
                    "Save masks as PNG."
                )
            numbers = np.asarray(image.convert("RGB") if rules.colors is not None else image)
            mode = image.mode
    except PictureError:
        raise
    except FileNotFoundError:
        raise
    except Exception as error:  # decoders answer a broken file with whatever exception they fell over
        raise PictureError(f"{path}: damaged or truncated mask ({error}). Get the file again.") from error
    if rules.colors is not None:
        return _from_colors(path, numbers, rules.colors)
    if numbers.ndim != 2:
        raise ValueError(
            f"{path}: the mask has {numbers.shape[2]} channels ({mode}), but classes are one number a pixel. "
            "If it is colour-coded, give data.colors, the RGB of each class."
        )
    return _to_classes(path, numbers, rules)


def check_masks(pictures: Sequence[Path], masks: Sequence[Path], rules: MaskRules) -> None:
    """Read every mask once, before training: its values have to be classes and its size that of its picture.

    Raises:
        ValueError: the first mask, in order, that is wrong.
        OSError: one that is missing.
    """

    def check(pair: tuple[Path, Path]) -> None:
        picture, path = pair
        size, wanted = read_mask(path, rules).shape, picture_size(picture)
        if size != wanted:
            raise ValueError(
                f"{path}: the mask is {size[0]} x {size[1]} (height x width), but {picture.name} upright is "
                f"{wanted[0]} x {wanted[1]}. Masks must match the upright picture, pixel by pixel."
            )

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(check, zip(pictures, masks, strict=True)):
            pass


def _to_classes(path: Path, numbers: npt.NDArray[np.generic], rules: MaskRules) -> Mask:
    if numbers.dtype == np.bool_:  # a 1-bit PNG: class 0 and 1
        numbers = numbers.astype(np.uint8)
    if numbers.size == 0 or numbers.min() < 0 or numbers.max() > 65535:
        raise ValueError(f"{path}: no mask of whole numbers from 0 to 65535.")
    table = np.full(65536, -1, np.int32)
    if rules.values is None:
        table[: rules.class_count] = np.arange(rules.class_count)
    else:
        table[:] = IGNORE_INDEX
        for value, label in rules.values.items():
            table[value] = label
    table[[IGNORE_INDEX, *rules.ignored]] = IGNORE_INDEX
    labels: npt.NDArray[np.int32] = table[numbers]
    if (labels < 0).any():
        row, column = (int(i) for i in np.argwhere(labels < 0)[0])
        value = int(numbers[row, column])
        raise ValueError(
            f"{path}: label {value} at pixel ({row}, {column}), but the data set has {rules.class_count} classes "
            f"(0..{rules.class_count - 1}; 255 is ignored). If {value} means void, set data.ignored=[{value}]; "
            "if there are more classes, list them in data.class_names."
        )
    return labels.astype(np.uint8)


def _from_colors(path: Path, picture: npt.NDArray[np.uint8], colors: Mapping[tuple[int, int, int], int]) -> Mask:
    keys = picture.astype(np.int64) @ np.array([65536, 256, 1])
    labels = np.full(keys.shape, -1, np.int64)
    for (red, green, blue), label in colors.items():
        labels[keys == red * 65536 + green * 256 + blue] = label
    if (labels < 0).any():
        row, column = (int(i) for i in np.argwhere(labels < 0)[0])
        raise ValueError(
            f"{path}: the colour {picture[row, column].tolist()} at pixel ({row}, {column}) belongs to no class; "
            "add it to data.colors, with 255 if it is to be ignored."
        )
    return labels.astype(np.uint8)
