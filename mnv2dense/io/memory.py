"""What decoding takes of memory, told from the header: what is too much is refused, and threads share what there is."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

MAX_PIXELS: Final = 178_956_970
"""Largest image read by default: 512 MiB as RGB; the size at which Pillow, too, refuses."""

MAX_BYTES: Final = 2**28
"""Of files that are read whole; images in larger ones are decoded as they are read."""

# What decoding may take for each pixel that is allowed. Most formats take 4 to 7: the stored pixels, and RGB of them.
_BYTES_A_PIXEL = 9

# A row's place in Pillow's memory: of an image one pixel wide it takes more than the pixels.
_ROW_BYTES = 8

_STORED_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
"""Of a pixel in Pillow's modes; 4 of all others, RGB too."""


class Excess(NamedTuple):
    """What is too much of an image: in words, and the ``max_pixels`` that would allow it."""

    said: str
    max_pixels: int


def too_much(image: ImageFile, max_pixels: int) -> Excess | None:
    """Whether decoding would take more than an image of ``max_pixels`` may; only the header is looked at."""
    width, height = image.size
    pixels, taken, allowed = width * height, decoding_bytes(image), _BYTES_A_PIXEL * max_pixels
    if pixels > max_pixels:
        said = f"is {pixels / 1e6:.0f} megapixels, more than the {max_pixels / 1e6:.0f} allowed"
    elif taken > allowed:
        said = f"takes {taken / 1e9:.1f} GB to decode ({_kind(image)}), more than the {allowed / 1e9:.1f} allowed"
    else:
        return None
    return Excess(f"{width}x{height} {said}", max(pixels, math.ceil(taken / _BYTES_A_PIXEL)))


def decoding_bytes(image: ImageFile) -> int:
    """About the most that is taken at once: what is stored, and beside it the decoder's own or the RGB of it."""
    width, height = image.size
    stored, own = _STORED_BYTES.get(image.mode, 4), 0.0
    if image.format == "JPEG" and image.mode in ("RGB", "L"):
        stored = 3  # OpenCV decodes these
    if image.format == "JPEG" and image.info.get("progressive"):
        own = _coefficient_bytes(image)
    elif image.format == "WEBP" and getattr(image, "is_animated", False):
        own = 12  # two canvases and a copy
    return height * (_ROW_BYTES + math.ceil(width * (stored + max(3, own))))


def _coefficient_bytes(image: ImageFile) -> float:
    """Of a pixel of a progressive JPEG: two of each component, less where colours are of lower resolution."""
    layers: list[tuple[int, int]] = [(across, down) for _, across, down, _ in getattr(image, "layer", ())]
    if not layers:
        return 0.0
    whole = max(across for across, _ in layers) * max(down for _, down in layers)
    return 2 * sum(across * down for across, down in layers) / max(1, whole)


def _kind(image: ImageFile) -> str:
    if image.info.get("progressive"):
        return f"a progressive {image.format} of {image.mode}"
    return f"{image.format} of {image.mode}"


@contextlib.contextmanager
def in_turn(image: ImageFile) -> Iterator[None]:
    """Wait until what other threads decode leaves room for this: together they take no more than one image may."""
    taken = decoding_bytes(image)
    room = _room
    with room:
        room.wait_for(lambda: not _taken or sum(_taken) + taken <= _BYTES_A_PIXEL * MAX_PIXELS)
        _taken.append(taken)
    try:
        yield
    finally:
        with room:
            _taken.remove(taken)
            room.notify_all()


_room = threading.Condition()
_taken: list[int] = []


def _begin_anew() -> None:
    """In a process that was forked while threads of its parent decoded."""
    global _room
    _room = threading.Condition()
    _taken.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
