"""Pictures within a page, so that it stands alone."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnv2dense.visualization.draw import Pixels


def jpeg_uri(picture: Pixels, width: int, most_bytes: int) -> str:
    """A data URI, at most so wide; coarser, then smaller, until it is light enough to travel."""
    from PIL import Image

    image = Image.fromarray(picture)
    while True:
        if image.width > width:
            image = image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS)
        for quality in (88, 78, 65):
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=quality, optimize=True)
            if buffer.tell() <= most_bytes or width < 100:
                return _uri(buffer.getvalue(), "jpeg")
        width = round(width * 0.8)


def png_uri(content: bytes) -> str:
    """A data URI of a PNG file."""
    return _uri(content, "png")


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
