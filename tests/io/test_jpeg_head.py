"""Sizes of plain JPEGs from their first bytes, and all other files left to who knows them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mnv2dense.io.jpeg_head import plain_jpeg_size
from mnv2dense.io.reading import ImageError, decode_image, open_bytes

PIXELS = np.random.default_rng(0).integers(0, 256, (37, 52, 3), np.uint8)


def jpeg(mode: str = "RGB", **options: Any) -> bytes:  # noqa: ANN401 - of Pillow
    file = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        jpeg(),
        jpeg("L"),
        jpeg(quality=30, subsampling=0),
        jpeg(comment=b"a comment"),
        jpeg(icc_profile=b"profile" * 999),
        jpeg(restart_marker_blocks=2),
        jpeg(optimize=True, dpi=(72, 72)),
    ],
    ids=["RGB", "grey", "whole colours", "comment", "profile", "restarts", "own tables"],
)
def test_the_size_of_a_plain_one_is_told(data: bytes) -> None:
    assert plain_jpeg_size(data) == (37, 52)
    opened = open_bytes(data)
    assert opened.size == (37, 52)
    assert opened.decode(2)[0].shape == (19, 26, 3)
    # Pillow's reader, which an image takes that has to be turned by nothing, leads to the same pixels.
    exif = Image.Exif()
    exif[274] = 1
    marked = data[:2] + b"\xff\xe1" + (len(exif.tobytes()) + 2).to_bytes(2, "big") + exif.tobytes() + data[2:]
    assert plain_jpeg_size(marked) is None
    assert np.array_equal(decode_image(marked), decode_image(data))


@pytest.mark.parametrize(
    "data",
    [
        jpeg(progressive=True),
        jpeg("CMYK"),
        jpeg(exif=Image.Exif()),
        jpeg()[:-2],
        jpeg()[:150] + b"\xff\xd9",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff" + bytes(50) + b"\xff\xd9",
        b"",
        b"\x89PNG\r\n\x1a\n\xff\xd9",
    ],
    ids=["progressive", "CMYK", "EXIF", "cut off", "header cut", "nothing", "zeros", "empty", "PNG"],
)
def test_others_are_left_to_who_knows_all_kinds(data: bytes) -> None:
    assert plain_jpeg_size(data) is None


def test_a_broken_one_says_what_it_did_before_and_the_limit_of_pixels_holds() -> None:
    data = jpeg()
    without_tables = data[: data.index(b"\xff\xdb")] + data[data.index(b"\xff\xc0") :]
    assert plain_jpeg_size(without_tables) == (37, 52)
    with pytest.raises(ImageError, match=r"photo\.jpg: damaged or truncated image"):
        open_bytes(without_tables, name="photo.jpg").decode(1)
    with pytest.raises(ImageError, match="52x37 is 0 megapixels, more than the 0 allowed"):
        open_bytes(data, max_pixels=1000)


def test_real_photos_have_the_size_that_pillow_tells(shared: Path) -> None:
    plain = 0
    for path in sorted((shared / "data" / "coco_mini").rglob("*.jpg"))[:60]:
        data = path.read_bytes()
        with Image.open(path) as image:
            size = image.size[::-1]
        found = plain_jpeg_size(data)
        assert found in (None, size)
        plain += found is not None
    assert plain > 40
