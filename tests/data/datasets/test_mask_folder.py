from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mnv2dense.data.datasets.mask_folder import MaskFolder
from mnv2dense.data.datasets.mask_png import MaskRules, read_mask
from mnv2dense.types import IGNORE_INDEX

THREE = MaskRules(class_count=3)


def save(path: Path, array: npt.ArrayLike, mode: str | None = None, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.array(array, np.uint8))
    if mode == "P":
        image.putpalette([250, 0, 0, 0, 250, 0, 0, 0, 250] + [7] * 759)
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def test_a_gray_mask_is_its_numbers_and_255_is_ignored(tmp_path: Path) -> None:
    mask = read_mask(save(tmp_path / "m.png", [[0, 1], [2, 255]]), THREE)
    assert mask.dtype == np.uint8
    assert mask.tolist() == [[0, 1], [2, 255]]


def test_a_palette_mask_is_its_numbers_not_its_colours(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", [[0, 1], [2, 255]], "P")
    with Image.open(path) as image:
        assert image.mode == "P"
    assert read_mask(path, THREE).tolist() == [[0, 1], [2, 255]]


def test_sixteen_bits_and_one_bit_are_read(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 2]], np.uint16)).save(tmp_path / "deep.png")
    assert read_mask(tmp_path / "deep.png", THREE).tolist() == [[0, 2]]
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "flat.png")
    assert read_mask(tmp_path / "flat.png", THREE).tolist() == [[1, 0]]


def test_values_can_be_ignored_or_renumbered(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", [[0, 7], [2, 9]])
    assert read_mask(path, THREE._replace(ignored=(7, 9))).tolist() == [[0, 255], [2, 255]]
    assert read_mask(path, THREE._replace(values={7: 0, 2: 1})).tolist() == [[255, 0], [1, 255]]


def test_colours_become_classes_and_an_unknown_one_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", [[[9, 8, 7], [0, 0, 0]]])
    assert read_mask(path, THREE._replace(colors={(9, 8, 7): 2, (0, 0, 0): IGNORE_INDEX})).tolist() == [[2, 255]]
    with pytest.raises(ValueError, match=r"colour \[0, 0, 0\] at pixel \(0, 1\) belongs to no class"):
        read_mask(path, THREE._replace(colors={(9, 8, 7): 2}))


def test_a_label_out_of_range_is_named_with_file_pixel_and_fix(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", [[0, 1], [31, 2]])
    with pytest.raises(ValueError, match=r"m.png: label 31 at pixel \(1, 0\), but .* 3 classes .* ignored=\[31\]"):
        read_mask(path, THREE)


def test_a_jpeg_mask_is_refused_whatever_its_name(tmp_path: Path) -> None:
    for name in ("m.jpg", "m.png"):
        path = save(tmp_path / name, [[0, 1], [2, 2]], format="JPEG")
        with pytest.raises(ValueError, match="a mask saved as JPEG has lost its values"):
            read_mask(path, THREE)


def test_coloured_damaged_and_missing_masks_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"rgb.png: the mask is an image of .*by MaskFolder .*whose colors= has"):
        read_mask(save(tmp_path / "rgb.png", [[[0, 1, 2]]]), THREE)
    (tmp_path / "cut.png").write_bytes(save(tmp_path / "m.png", np.zeros((50, 50))).read_bytes()[:60])
    with pytest.raises(ValueError, match=r"cut.png: damaged or truncated mask"):
        read_mask(tmp_path / "cut.png", THREE)
    with pytest.raises(FileNotFoundError):
        read_mask(tmp_path / "none.png", THREE)


@pytest.mark.parametrize(
    ("images", "masks"),
    [("train", "trainannot"), ("images/train", "masks/train"), ("train/images", "train/labels")],
)
def test_the_customary_folders_are_found(tmp_path: Path, images: str, masks: str) -> None:
    for stem, label in (("b", 1), ("a", 0)):
        save(tmp_path / images / f"{stem}.jpg", np.full((4, 6, 3), 90))
        save(tmp_path / masks / f"{stem}.png", np.full((4, 6), label))
    data = MaskFolder(root=tmp_path, split="train", class_names=["x", "y"], palette=[[1, 2, 3], [4, 5, 6]])
    assert len(data) == 2
    assert [int(data[k].mask[0, 0]) for k in range(2)] == [0, 1]  # type: ignore[index]
    assert data[1].boxes is None
    assert data.path_of(2).name == "b.jpg"
    assert (data.mask_of(2) == 1).all()
    assert data.palette == ((1, 2, 3), (4, 5, 6))


def test_folders_can_be_named(tmp_path: Path) -> None:
    save(tmp_path / "p" / "val" / "a.png", np.zeros((4, 6, 3)))
    save(tmp_path / "m-val" / "a.png", np.zeros((4, 6)))
    data = MaskFolder(root=tmp_path, split="val", class_names=["x"], images="p/{split}", masks="m-{split}")
    assert len(data) == 1
    with pytest.raises(ValueError, match="name both folders, or neither"):
        MaskFolder(root=tmp_path, split="val", class_names=["x"], images="p")


def test_what_is_wrong_is_found_before_training(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"root=.*nowhere: no such folder"):
        MaskFolder(root=tmp_path / "nowhere", split="train", class_names=["x"])
    with pytest.raises(FileNotFoundError, match=r"Looked for train with trainannot; images/train with masks/train"):
        MaskFolder(root=tmp_path, split="train", class_names=["x"])
    save(tmp_path / "train" / "a.jpg", np.zeros((4, 6, 3)))
    (tmp_path / "trainannot").mkdir()
    with pytest.raises(FileNotFoundError, match=r"1 of 1 images have no mask: a.jpg"):
        MaskFolder(root=tmp_path, split="train", class_names=["x"])
    save(tmp_path / "trainannot" / "a.png", np.zeros((6, 4)))
    with pytest.raises(ValueError, match=r"a.png: the mask is 6 x 4 .* a.jpg upright is 4 x 6"):
        MaskFolder(root=tmp_path, split="train", class_names=["x"])
    save(tmp_path / "trainannot" / "a.png", np.full((4, 6), 5))
    with pytest.raises(ValueError, match=r"label 5 at pixel \(0, 0\)"):
        MaskFolder(root=tmp_path, split="train", class_names=["x"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ignored": 11}, r"ignored=11: a list of mask values is needed, as in ignored=\[11\]"),
        ({"ignored": ["void"]}, r"ignored=\['void'\]: a list of mask values"),
        ({"values": {255: "road"}}, r"values=.*road.* numbers of their classes .* values=\{0:0,255:1\}"),
        ({"values": [0, 255]}, r"values=\[0, 255\]: mask values and"),
        ({"colors": [[0, 0, 0]]}, r"colors=\[\[0, 0, 0\]\]: red, green, blue and the number of the class"),
        ({"colors": [0, 0, 0, 1]}, r"colors=\[0, 0, 0, 1\]: red, green, blue"),
    ],
)
def test_rules_of_another_form_are_answered_with_an_example(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    for name in ("train", "trainannot"):
        save(tmp_path / name / "a.png", np.zeros((4, 6, 3)))
    with pytest.raises(ValueError, match=message):
        MaskFolder(root=tmp_path, split="train", class_names=["x", "y"], **options)


def test_masks_of_0_and_255_are_not_taken_for_one_class_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "train" / "a.png", np.zeros((1, 2, 3)))
    save(tmp_path / "trainannot" / "a.png", [[0, 255]])
    MaskFolder(root=tmp_path, split="train", class_names=["other", "road"])
    assert "all pixels are class 'other' or ignored" in caplog.text
    assert "values={0: 0, 255: 1}" in caplog.text
    caplog.clear()
    MaskFolder(root=tmp_path, split="train", class_names=["thing"])
    assert "all pixels are class 'thing' or ignored, so there is nothing to tell apart" in caplog.text
    assert "class_names=[background,thing]" in caplog.text
    caplog.clear()
    MaskFolder(root=tmp_path, split="train", class_names=["other", "road"], values={0: 0, 255: 1})
    assert not caplog.text


def test_camvid_is_read_whole(shared: Path) -> None:
    names = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
    data = MaskFolder(root=shared / "data" / "camvid", split="val", class_names=names, ignored=[11])
    assert len(data) == 101
    counts = sum(np.bincount(data.mask_of(k + 1).ravel(), minlength=256) for k in range(0, 101, 10))
    shares = counts[:11] / counts[:11].sum()
    assert shares[3] > 0.2  # a street, seen from a car
    assert shares[2] < 0.03  # poles are thin
    assert counts[11:255].sum() == 0
    assert counts[255] > 0


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_folder_of_jpeg_masks_is_refused_before_training(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / "images" / "train" / "a.jpg", np.full((4, 6, 3), 90))
    save(tmp_path / "masks" / "train" / f"a.{suffix}", np.zeros((4, 6)), format="JPEG")
    with pytest.raises(ValueError, match=rf"a.{suffix}: a mask saved as JPEG has lost its values"):
        MaskFolder(root=tmp_path, split="train", class_names=["background", "crack"])


def test_braces_in_folders_names_are_letters(tmp_path: Path) -> None:
    for name in ("{x} train", "{}"):
        (tmp_path / name).mkdir()
        Image.new("RGB" if "x" in name else "L", (8, 8)).save(tmp_path / name / "a.png")
    data = MaskFolder(root=tmp_path, split="train", class_names=["one", "two"], images="{x} {split}", masks="{}")
    assert data.paths == [tmp_path / "{x} train" / "a.png"]
