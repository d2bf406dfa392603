"""Pictures inside a page, so that it stands alone: no heavier than it can travel with."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnv2dense.visualization.draw import Pixels


def jpeg_uri(picture: Pixels, *, width: int, most_bytes: int) -> str:
    """A data URI, at most so wide; coarser, then smaller, until it is light enough to travel.

    Args:
        picture: uint8 [H, W, 3], RGB.
        width: pixels.
        most_bytes: of the JPEG.
    """
    from PIL import Image

    image = Image.fromarray(picture)
    while True:
        if image.width > width:
            image = image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS)
        for quality in (88, 78, 65):
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=quality, optimize=True)
            if buffer.tell() <= most_bytes or width < 100:
                return data_uri(buffer.getvalue(), "jpeg")
        width = round(width * 0.8)


def data_uri(content: bytes, kind: str) -> str:
    """Of the bytes of an image file; ``kind`` is "png" or "jpeg"."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
