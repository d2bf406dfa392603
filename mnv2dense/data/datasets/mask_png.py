"""Mask files: the class of every pixel, checked before anybody trains on it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.label_values import class_names
from mnv2dense.io.file_heads import without_text
from mnv2dense.io.memory import MAX_BYTES, MAX_PIXELS, in_turn, too_much
from mnv2dense.io.reading import ImageError, by_bands
from mnv2dense.types import IGNORE_INDEX
from mnv2dense.types.class_lists import Palette

if TYPE_CHECKING:
    from PIL.Image import Image

Mask = npt.NDArray[np.uint8]

_LARGEST_VALUE = 65535  # of 16 bits

# Pixels looked at together: what numpy makes of them on the way takes eight times their memory.
_CHUNK = 2**20

# PNG's kind of images without colour, and what Pillow multiplies their values by where they have few bits, so that
# the largest is white: labels 0..3 would be read as 0, 85, 170, 255.
_GRAY = 0
_STRETCH = {1: 1, 2: 85, 4: 17}


class MaskRules(NamedTuple):
    """How the values of mask files become classes.

    Attributes:
        class_count: K; classes are 0..K-1.
        ignored: values that count nowhere, besides 255.
        values: value of the file -> class, for files that are numbered otherwise. None takes values as they are.
        ignore_others: values that ``values`` does not name are ignored, too; else they are errors.
        colors: RGB -> class, for masks that are coloured images, or palettes in no order; None reads numbers.
        options: of the choice of conf/data that reads them, those that say how; what is wrong is advised by these.
    """

    class_count: int
    ignored: tuple[int, ...] = ()
    values: Mapping[int, int] | None = None
    ignore_others: bool = True
    colors: Mapping[tuple[int, int, int], int] | None = None
    options: frozenset[str] = frozenset()

    def checked(self) -> MaskRules:
        """These rules.

        Raises:
            ValueError: they name a class that is none, or ignore a value that is a class.
        """
        for option, labels in (("values", self.values), ("colors", self.colors)):
            for key, label in (labels or {}).items():
                if not (0 <= label < self.class_count or label == IGNORE_INDEX):
                    raise ValueError(
                        f"{option} has {key}: {label}; classes are 0..{self.class_count - 1}, or 255 to ignore."
                    )
        named = range(self.class_count) if self.values is None else self.values
        for value in (*self.ignored, *(self.values or ())):
            if not 0 <= value <= _LARGEST_VALUE:
                raise ValueError(f"ignored or values has {value}; mask files hold 0..{_LARGEST_VALUE}.")
        both = [value for value in self.ignored if value in named]
        if both:
            raise ValueError(
                f"ignored has {both[0]}, which is also the value of a class. If the classes' values begin "
                f"after it, say so with values={{{both[0] + 1}: 0, ...}}."
            )
        return self


def read_mask(path: Path, rules: MaskRules) -> Mask:
    """Read a gray or palette PNG (its numbers, not its colours), or a coloured one by ``rules.colors``.

    Returns:
        uint8 [H, W], 0..K-1, 255 ignored.

    Raises:
        ValueError: a JPEG, whose values are not what was saved; damaged; or a value that is no class, naming the pixel.
        OSError: the file is missing or may not be read.
    """
    numbers = read_png_values(path, colors_of_palette=rules.colors is not None)
    if rules.colors is not None:
        return _from_colors(path, numbers, rules.colors)
    if numbers.ndim == 3:
        if (numbers != numbers[..., :1]).any():
            advice = (
                "If it is colour-coded, give colors=, the RGB of each class; else save the numbers as gray or "
                "palette PNG."
                if "colors" in rules.options
                else "Get the masks as the data set comes with them; colour-coded ones are read by MaskFolder "
                "(data=mask_folder), whose colors= has the RGB of each class."
            )
            raise ValueError(f"{path}: the mask is an image of colours, but classes are one number a pixel. {advice}")
        numbers = numbers[..., 0]  # gray, saved as colours
    return _to_classes(path, numbers, rules)


def read_png_values(
    path: Path, *, colors_of_palette: bool = False, max_pixels: int = MAX_PIXELS
) -> npt.NDArray[np.integer]:
    """What a PNG stores, as it stores it: nothing turned, nothing scaled; of a palette the indices, or the colours.

    Returns:
        uint8 or uint16 [H, W] of gray values or palette indices, uint8 [H, W, 3] of colours.

    Raises:
        ImageError: no PNG, or one that is damaged, too large or transparent in places.
        OSError: the file is missing or may not be read.
    """
    with path.open("rb") as file:
        head = file.read(26)
        if not head.startswith(b"\x89PNG\r\n\x1a\n"):
            raise ImageError(f"{path}: {_no_png(head)}")
        file.seek(0)
        try:
            return _values(path, file, head, max_pixels, colors_of_palette=colors_of_palette)
        except ImageError:
            raise
        except Exception as error:  # decoders answer a broken file with whatever exception they fell over
            file.seek(0)
            bare, reason = without_text(file.read(MAX_BYTES)), error
    try:
        if bare is not None:
            return _values(path, io.BytesIO(bare), head, max_pixels, colors_of_palette=colors_of_palette)
    except ImageError:
        raise
    except Exception as error:
        reason = error
    raise ImageError(f"{path}: damaged or truncated mask ({reason}). Get the file again.") from reason


def _values(
    path: Path, file: IO[bytes], head: bytes, max_pixels: int, *, colors_of_palette: bool
) -> npt.NDArray[np.integer]:
    from PIL import PngImagePlugin

    depth, kind = head[24], head[25]  # of the header chunk; kinds 2 and 6 are colours, 4 and 6 have transparency
    if depth == 16 and kind != _GRAY:
        raise ImageError(f"{path}: 16 bits are read of gray masks only. Save it as gray or palette PNG.")

    def convert(part: Image) -> npt.NDArray[np.integer]:
        values = np.array(part.convert("RGB") if colors_of_palette and part.mode == "P" else part)
        if kind in (4, 6):
            if (values[..., -1] != 255).any():
                raise ImageError(f"{path}: a mask that is transparent in places. Save it without an alpha channel.")
            values = values[..., 0] if kind == 4 else values[..., :3]
        if kind == _GRAY and depth < 8:
            values = values // _STRETCH[depth]
        return values.astype(np.uint16 if depth == 16 else np.uint8)

    # Pillow's reader itself: Image.open has a limit of its own, which only warns at first.
    with PngImagePlugin.PngImageFile(file) as image:
        if excess := too_much(image, max_pixels):
            raise ImageError(f"{path}: {excess.said}. Scale image and mask down.")
        with in_turn(image):
            image.load()
            return by_bands(image, convert)


def count_values(values: npt.NDArray[np.integer], kinds: int = IGNORE_INDEX + 1) -> npt.NDArray[np.int64]:
    """How often each of 0..kinds-1 occurs, int64 [kinds]; numpy's own count makes 64 bits of every value at once."""
    flat, counts = values.reshape(-1), np.zeros(kinds, np.int64)
    for start in range(0, len(flat), _CHUNK):
        counts += np.bincount(flat[start : start + _CHUNK], minlength=kinds)
    return counts


def checked_class_names(given: Sequence[str] | str) -> tuple[str, ...]:
    """The K names, as :func:`~mnv2dense.data.datasets.label_values.class_names` has them; masks of 8 bits hold 255.

    Raises:
        ValueError: none, more than 255, one of them twice, or one that is no name.
    """
    names = class_names(given)
    if len(names) > IGNORE_INDEX:
        raise ValueError(f"class_names lists {len(names)} classes; masks hold 1 to {IGNORE_INDEX}.")
    return names


def checked_palette(palette: Sequence[Sequence[int]] | None, count: int) -> Palette | None:
    """One RGB for each of ``count`` classes.

    Raises:
        ValueError: another number of colours, or one that is not three values of 0..255.
    """
    if palette is None:
        return None
    for color in palette:
        if len(color) != 3 or not all(isinstance(part, int) and 0 <= part <= 255 for part in color):
            raise ValueError(f"palette has {color!r}; a colour is [red, green, blue], each 0..255.")
    if len(palette) != count:
        raise ValueError(f"palette has {len(palette)} colours for {count} classes; give one each, in their order.")
    return tuple((red, green, blue) for red, green, blue in palette)


def _to_classes(path: Path, numbers: npt.NDArray[np.integer], rules: MaskRules) -> Mask:
    table = np.full(_LARGEST_VALUE + 1, -1, np.int32)
    table[IGNORE_INDEX] = IGNORE_INDEX
    if rules.values is None:
        table[: rules.class_count] = np.arange(rules.class_count)
    else:
        if rules.ignore_others:
            table[:] = IGNORE_INDEX
        for value, label in rules.values.items():
            table[value] = label
    table[list(rules.ignored)] = IGNORE_INDEX
    present = count_values(numbers, np.iinfo(numbers.dtype).max + 1) > 0
    if unknown := np.flatnonzero(present & (table[: len(present)] < 0)).tolist():
        row = next(row for row in range(len(numbers)) if np.isin(numbers[row], unknown).any())
        column = int(np.isin(numbers[row], unknown).argmax())
        value = int(numbers[row, column])
        raise ValueError(
            f"{path}: label {value} at pixel ({row}, {column}), but the data set has {rules.class_count} classes "
            f"(0..{rules.class_count - 1}; 255 is ignored). {_advice(value, rules.options)}"
        )
    labels, small = np.empty(numbers.shape, np.uint8), table.astype(np.uint8)
    flat, target = numbers.reshape(-1), labels.reshape(-1)
    for start in range(0, len(flat), _CHUNK):  # numpy makes 64 bits of every index
        target[start : start + _CHUNK] = small[flat[start : start + _CHUNK]]
    return labels


def _advice(value: int, options: frozenset[str]) -> str:
    """What to do about a value that is no class, by options that there are."""
    if "ignored" in options:
        return f"If {value} means void, set ignored=[{value}]; if there are more classes, list them in class_names=."
    more = "If there are more classes, list them in class_names=. " if "class_names" in options else ""
    return (
        f"{more}Masks that were changed or made otherwise are read by data=mask_folder, whose option "
        f"ignored=[{value}] leaves such pixels out."
    )


def _from_colors(path: Path, image: npt.NDArray[np.integer], colors: Mapping[tuple[int, int, int], int]) -> Mask:
    if image.ndim == 2:
        raise ValueError(f"{path}: colors= is given, but this mask is not coloured; remove it.")
    labels, rows = np.zeros(image.shape[:2], np.uint8), max(1, _CHUNK // image.shape[1])
    for top in range(0, len(image), rows):
        part = image[top : top + rows]
        is_known = np.zeros(part.shape[:2], np.bool_)
        for color, label in colors.items():
            same = (part[..., 0] == color[0]) & (part[..., 1] == color[1]) & (part[..., 2] == color[2])
            labels[top : top + rows][same] = label
            is_known |= same
        if not is_known.all():
            row, column = np.unravel_index(int(is_known.argmin()), is_known.shape)
            raise ValueError(
                f"{path}: the colour {part[row, column].tolist()} at pixel ({top + row}, {column}) belongs to no "
                "class; add it to colors=, with 255 if it is to be ignored."
            )
    return labels


def _no_png(head: bytes) -> str:
    if head.startswith(b"\xff\xd8\xff"):
        return (
            "a mask saved as JPEG has lost its values: compression blends classes where they meet. Save masks as PNG, "
            "from the source."
        )
    return f"no PNG; it begins with {head[:12]!r}. Save masks as PNG." if head else "empty file (0 bytes)."
