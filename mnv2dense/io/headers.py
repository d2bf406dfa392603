"""What the header of an image file says beyond its size: how it is stored, for those who ask what is in a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mnv2dense.io.memory import MAX_PIXELS
from mnv2dense.io.reading import ImageError, opened_header, orientation_of

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile


class Header(NamedTuple):
    """How an image is stored.

    Attributes:
        format: "JPEG", "PNG", ...
        size: (height, width) of the upright image, pixels.
        mode: Pillow's, such as "RGB", "L", "CMYK" and "I;16".
        orientation: of EXIF, 1..8; 1 is upright.
        frames: of an animation, or pages; 1 of a plain image.
    """

    format: str
    size: tuple[int, int]
    mode: str
    orientation: int
    frames: int


def read_header(path: str | os.PathLike[str]) -> Header:
    """The header of an image file; no pixel is decoded.

    Raises:
        ImageError: the header is empty, too large or no image's.
        OSError: the file is missing or may not be read.
    """
    with Path(path).open("rb") as file:
        try:
            with opened_header(file, path, MAX_PIXELS) as image:
                orientation, (width, height) = orientation_of(image), image.size
                size = (width, height) if orientation >= 5 else (height, width)
                return Header(str(image.format), size, _mode(image), orientation, int(getattr(image, "n_frames", 1)))
        except ImageError:
            raise
        except Exception as error:  # decoders answer a broken file with whatever exception they fell over
            raise ImageError(f"{path}: damaged header ({error}).") from error


def _mode(image: ImageFile) -> str:
    """Pillow's mode; of a PNG of 16 bits a channel, which Pillow opens as 8, what is stored."""
    raw = image.tile[0][3] if image.tile else ""
    raw = raw[0] if isinstance(raw, tuple) and raw else raw
    return str(raw) if "16" in str(raw) else image.mode
