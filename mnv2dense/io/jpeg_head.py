"""The size of a plain JPEG, from its first bytes: of each image that is loaded Pillow's reader would take a tenth."""

from __future__ import annotations

from typing import Final

_START_OF_IMAGE: Final = b"\xff\xd8\xff"
_FRAMES: Final = (0xC0, 0xC1)  # of sequential coding; a progressive one takes memory that has to be counted
_HARMLESS: Final = frozenset((0xC4, 0xDB, 0xDD, 0xE0, 0xE2, 0xFE))  # tables, restarts, JFIF, ICC profile, comment


def plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) of a JPEG that is shown as it is stored, whole, 8 bits, grey or of three components.

    None of anything else, which a reader that knows all kinds has to look at: EXIF or XMP that may turn it, Adobe's
    marker that tells other colours, progressive or arithmetic coding, a file that was cut off or is broken.

    Args:
        data: of the file, all of it.
    """
    if not data.startswith(_START_OF_IMAGE) or not data.endswith(b"\xff\xd9"):
        return None
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAMES:
            height, width = (int.from_bytes(data[at + k : at + k + 2], "big") for k in (5, 7))
            is_plain = data[at + 4] == 8 and data[at + 9] in (1, 3) and height > 0 and width > 0
            return (height, width) if is_plain else None
        if marker not in _HARMLESS:
            return None
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
