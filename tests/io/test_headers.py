from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mnv2dense.io.headers import Header, read_header
from mnv2dense.io.reading import ImageError


def test_a_header_says_how_an_image_is_stored(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[274] = 8
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=turned)
    assert read_header(tmp_path / "a.jpg") == Header("JPEG", (30, 20), "RGB", 8, 1)
    Image.new("CMYK", (30, 20)).save(tmp_path / "b.jpg")
    assert read_header(tmp_path / "b.jpg") == Header("JPEG", (20, 30), "CMYK", 1, 1)
    Image.new("L", (4, 4)).save(tmp_path / "c.gif", save_all=True, append_images=[Image.new("L", (4, 4), 255)])
    assert read_header(tmp_path / "c.gif").frames == 2


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3)])
def test_sixteen_bits_are_seen_where_pillow_opens_eight(shape: tuple[int, ...], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros(shape, np.uint16))
    assert "16" in read_header(tmp_path / "a.png").mode
    Image.new("RGB", (30, 20)).save(tmp_path / "b.png")
    assert read_header(tmp_path / "b.png").mode == "RGB"


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"\x89PNG\r\n\x1a\n" + b"x" * 30, b"hello"):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(ImageError, match=r"a\.png"):
            read_header(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "none.png")
