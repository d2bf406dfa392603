"""``bad_images='keep'``: whoever examines data meets each fault by itself, and none stops the others."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnv2dense.data.datasets import ImageFolder, MaskFolder, VocDetection, YoloDetection
from mnv2dense.io.reading import ImageError
from tests.data.datasets.test_voc import voc_object, write


def test_boxes_keep_images_that_are_missing_damaged_or_of_another_size(tmp_path: Path) -> None:
    write(tmp_path, {name: voc_object(corners=(1, 1, 60, 40)) for name in ("a", "b", "c", "d")})
    (tmp_path / "JPEGImages" / "b.jpg").write_bytes(b"")
    (tmp_path / "JPEGImages" / "c.jpg").unlink()
    Image.new("RGB", (32, 24)).save(tmp_path / "JPEGImages" / "d.jpg")
    with pytest.raises(FileNotFoundError):
        VocDetection(root=tmp_path)
    data = VocDetection(root=tmp_path, bad_images="keep")
    assert len(data) == 4
    assert data.image_sizes().tolist() == [[48, 64]] * 4
    assert data[0].image.shape == (48, 64, 3)
    for place, error in ((1, ImageError), (2, FileNotFoundError), (3, ValueError)):
        with pytest.raises(error):
            data[place]


def test_boxes_that_were_left_out_can_be_asked_for(tmp_path: Path) -> None:
    write(tmp_path, {"a": voc_object() + voc_object("dog", (100, 1, 120, 20))})
    data = VocDetection(root=tmp_path)
    assert len(data.box_columns().labels) == 1
    assert data.dropped_columns().boxes.tolist() == [[99, 0, 21, 20]]


def test_boxes_given_as_shares_of_a_broken_image_are_kept_too(tmp_path: Path) -> None:
    for folder in ("images/train", "labels/train"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data.yaml").write_text("names: [cat]\n")
    (tmp_path / "images/train/a.jpg").write_bytes(b"")
    (tmp_path / "labels/train/a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    data = YoloDetection(root=tmp_path, split="train", bad_images="keep")
    assert len(data) == 1
    with pytest.raises(ImageError):
        data[0]


def test_masks_are_read_when_they_are_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for folder in ("train", "trainannot"):
        (tmp_path / folder).mkdir()
    for name, mask in (("a", np.eye(8)), ("b", np.full((8, 8), 9)), ("c", np.zeros((4, 4)))):
        Image.new("RGB", (8, 8)).save(tmp_path / "train" / f"{name}.png")
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "trainannot" / f"{name}.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "train" / "d.png")
    with caplog.at_level(logging.WARNING):
        data = MaskFolder(root=tmp_path, split="train", class_names=["x", "y"], bad_images="keep")
    assert not caplog.records
    assert len(data) == 4
    assert data.mask_of(1).sum() == 8
    with pytest.raises(ValueError, match="label 9"):
        data.mask_of(2)
    with pytest.raises(ValueError, match="4 x 4"):
        data[2]
    with pytest.raises(FileNotFoundError):
        data.mask_of(4)


def test_a_split_without_an_image_is_refused_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(ValueError, match="a class without an image"):
        ImageFolder(root=tmp_path, bad_images="keep")
