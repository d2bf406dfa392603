from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mnv2dense.data.datasets import ImageFolder
from mnv2dense.doctor.looks import Looks, look_at, small_grey
from mnv2dense.io.reading import open_image
from tests.doctor.test_descriptors import pictures


def photo(height: int = 120, width: int = 160, *, seed: int = 0) -> np.ndarray:
    """uint8 [height, width, 3]."""
    return np.asarray(Image.fromarray(pictures(1, seed=seed)[0]).convert("RGB").resize((width, height)))


def look(folder: Path) -> Looks:
    return look_at(ImageFolder(root=folder, split="train", bad_images="keep"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of the images of one class."""
    (tmp_path / "train" / "any").mkdir(parents=True)
    return tmp_path / "train" / "any"


def jpeg(picture: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def test_each_broken_file_is_named_with_its_reason(folder: Path) -> None:
    (folder / "a_whole.jpg").write_bytes(jpeg(photo()))
    (folder / "b_cut.jpg").write_bytes(jpeg(photo())[:-200])
    (folder / "c_empty.jpg").write_bytes(b"")
    (folder / "d_page.jpg").write_bytes(b"<!doctype html><p>404")
    (folder / "e_link.jpg").symlink_to(folder / "nowhere.jpg")
    found = look_at(ImageFolder(root=folder.parent.parent, split="train", bad_images="keep"))
    assert [Path(path).name for path in found.paths] == ["a_whole.jpg", "b_cut.jpg", "c_empty.jpg", "d_page.jpg"]
    assert found.sizes.tolist() == [[120, 160], [0, 0], [0, 0], [0, 0]]
    assert found.faults[1].startswith("damaged or truncated image (")
    assert found.faults[2] == "empty file (0 bytes)"
    assert found.faults[3].startswith("a web page, not JPEG")
    assert all("bad_images" not in said and "Fetch" not in said for said in found.faults.values())
    (folder / "a_whole.jpg").unlink()
    dataset = ImageFolder(root=folder.parent.parent, split="train", bad_images="keep")
    (folder / "b_cut.jpg").unlink()
    assert look_at(dataset).faults[0] == "there is no such file"


def test_unusual_files_are_read_and_noted(folder: Path) -> None:
    turned = Image.Exif()
    turned[274] = 6
    (folder / "a.jpg").write_bytes(jpeg(photo(), exif=turned))
    Image.fromarray(photo()).convert("CMYK").save(folder / "b.jpg")
    cv2.imwrite(str(folder / "c.png"), photo().astype(np.uint16) * 256)
    Image.fromarray(photo()).convert("RGBA").save(folder / "d.png")
    grey = photo().copy()
    grey[80:] = 128
    Image.fromarray(grey).save(folder / "e.png")
    Image.fromarray(photo()).save(folder / "f.png")
    found = look(folder.parent.parent)
    assert not found.faults
    assert found.sizes[0].tolist() == [160, 120]
    for place, words in enumerate(("EXIF orientation (6)", "CMYK", "16 bits", "transparent", "the lowest 33%")):
        assert words in found.notes[place]
    assert 5 not in found.notes


def test_the_small_version_of_a_mirrored_file_is_the_mirror_image_at_every_size(tmp_path: Path) -> None:
    for height, width in ((120, 160), (375, 500), (333, 501), (64, 64), (40, 1000)):
        picture = photo(height, width)
        (tmp_path / "a.jpg").write_bytes(jpeg(picture))
        (tmp_path / "b.jpg").write_bytes(jpeg(np.ascontiguousarray(picture[:, ::-1])))
        first, second = (small_grey(open_image(tmp_path / name), 32).astype(int) for name in ("a.jpg", "b.jpg"))
        assert np.abs(first - second[:, ::-1]).max() <= 3


def test_the_small_version_is_the_mean_of_what_each_pixel_covers(tmp_path: Path) -> None:
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:32, :48] = 100
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert small_grey(open_image(tmp_path / "a.png"), 2).tolist() == [[100, 0], [0, 0]]
    assert small_grey(open_image(tmp_path / "a.png"), 1).tolist() == [[25]]
