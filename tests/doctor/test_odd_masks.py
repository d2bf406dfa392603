from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.planted_copies import MASKS, with_odd_masks
from mnv2dense.data.datasets import MaskFolder
from mnv2dense.doctor.looks import look_at
from mnv2dense.doctor.odd_masks import look_at_masks, odd_masks, share_alone
from tests.doctor.test_looks import photo

NAMES = ("background", "car", "road")


def folder(root: Path, count: int = 20) -> MaskFolder:
    """Images of 60x40 whose masks show all three classes."""
    for name in ("train", "trainannot"):
        (root / name).mkdir()
    for place in range(count):
        mask = np.zeros((40, 60), np.uint8)
        mask[20:] = 2
        mask[10:30, place + 2 : place + 22] = 1
        Image.fromarray(photo(40, 60, seed=place)).save(root / "train" / f"{place:02}.png")
        Image.fromarray(mask).save(root / "trainannot" / f"{place:02}.png")
    return MaskFolder(root=root, split="train", class_names=NAMES, bad_images="keep")


def test_whole_masks_are_not_suspect(tmp_path: Path) -> None:
    data = folder(tmp_path)
    looks = look_at(data)
    masks = look_at_masks(data, looks)
    assert masks.pixels[0].sum() == 2400
    assert masks.pixels[0, :3].tolist() == [1000, 400, 1000]
    assert odd_masks(masks, looks, NAMES) == []


@pytest.mark.parametrize("kind", list(MASKS))
def test_each_odd_mask_is_told_from_the_others(kind: str, tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    data, planted = with_odd_masks(folder(tmp_path), tmp_path / "odd", share=0.05)
    looks = look_at(data)
    found = odd_masks(look_at_masks(data, looks), looks, NAMES)  # type: ignore[arg-type]
    kinds = {each.image: each.kind for each in found}
    (image,) = planted[kind]
    assert kinds[image] == "odd mask" or kind == "one class"  # which is background: an image of nothing
    said = next(each.message for each in found if each.image == image)
    assert {
        "other size": "the mask is 30x20 pixels, its image 60x40",
        "value outside": "label 10 at pixel",
        "one class": "",
        "all ignored": "all of its pixels are ignored",
        "stored as JPEG": "of its pixels stand alone among other classes, where most masks have",
        "specks": "of its pixels stand alone among other classes, where most masks have",
    }[kind] in said


def test_images_without_an_object_are_empty_where_they_are_few(tmp_path: Path) -> None:
    data = folder(tmp_path)
    for place in range(20):
        if place in (3, 4):
            Image.fromarray(np.zeros((40, 60), np.uint8)).save(tmp_path / "trainannot" / f"{place:02}.png")
    looks = look_at(data)
    found = odd_masks(look_at_masks(data, looks), looks, NAMES)
    assert [(each.kind, Path(each.image).stem) for each in found] == [("empty image", "03"), ("empty image", "04")]


def test_a_pixel_alone_is_in_no_square_of_its_class() -> None:
    mask = np.zeros((4, 4), np.uint8)
    assert share_alone(mask) == 0
    mask[0, 0] = 1
    assert share_alone(mask) == 1 / 16
    mask[:, 3] = 2  # a line is one pixel wide: all of it is alone
    assert share_alone(mask) == 5 / 16
    mask[:, 3] = 255
    assert share_alone(mask) == 1 / 16
    assert share_alone(np.zeros((1, 9), np.uint8)) == 0
