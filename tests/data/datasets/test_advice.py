"""What messages advise exists: an option that the chosen data has, or that of another choice which they name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from mnv2dense.cli.data_options import in_options
from mnv2dense.cli.shell import conf_folder
from mnv2dense.data.datasets import Ade20kMasks, CityscapesMasks, ImageFolder, MaskFolder, VocMasks, YoloDetection
from mnv2dense.data.datasets.mask_table import MaskTable
from mnv2dense.io.reading import ImageError, read_image

CODED = np.full((8, 8, 3), (192, 128, 128), np.uint8)
UNKNOWN = np.full((8, 8), 222, np.uint8)


def options_of(choice: str) -> set[str]:
    """The options of a choice of conf/data."""
    folder = conf_folder() / "data"
    content = yaml.safe_load((folder / f"{choice}.yaml").read_text(encoding="utf-8"))
    bases = [entry for entry in content.get("defaults", []) if isinstance(entry, str) and entry != "_self_"]
    own = set(content) - {"defaults"}
    return own.union(*(options_of(base.partition("@")[0]) for base in bases if "@" not in base))


DATA = conf_folder().parent / "mnv2dense" / "data"
ALL_OPTIONS = set().union(*(options_of(path.stem) for path in (conf_folder() / "data").glob("*.yaml"))) - {
    "train",
    "val",
}


def advised(message: str, choice: str) -> list[tuple[str, str]]:
    """Choice and option of each advice, as a command gives it: behind ``data=...`` they are that choice's."""
    found = []
    for word in re.finditer(r"data=(\w+)|data\.([a-z_]+)", in_options(message, conf_folder())):
        if word[1]:
            choice = word[1]
        else:
            found.append((choice, word[2]))
    return found


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def voc(root: Path, mask: np.ndarray) -> MaskTable:
    save(root / "JPEGImages" / "a.jpg", np.zeros((8, 8, 3), np.uint8))
    save(root / "SegmentationClass" / "a.png", mask)
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n")
    return VocMasks(root=root, split="train")


def ade20k(root: Path, mask: np.ndarray) -> MaskTable:
    save(root / "images" / "training" / "a.jpg", np.zeros((8, 8, 3), np.uint8))
    save(root / "annotations" / "training" / "a.png", mask)
    return Ade20kMasks(root=root, split="training")


def cityscapes(root: Path, mask: np.ndarray) -> MaskTable:
    save(root / "leftImg8bit" / "train" / "x" / "x_0_0_leftImg8bit.png", np.zeros((8, 8, 3), np.uint8))
    save(root / "gtFine" / "train" / "x" / "x_0_0_gtFine_labelIds.png", mask)
    return CityscapesMasks(root=root, split="train")


def folder(root: Path, mask: np.ndarray) -> MaskTable:
    save(root / "images" / "train" / "a.jpg", np.zeros((8, 8, 3), np.uint8))
    save(root / "masks" / "train" / "a.png", mask)
    return MaskFolder(root=root, split="train", class_names=["one", "two"])


@pytest.mark.parametrize("mask", [CODED, UNKNOWN], ids=["coloured", "unknown"])
@pytest.mark.parametrize(
    ("choice", "make"),
    [("voc_masks", voc), ("ade20k", ade20k), ("cityscapes", cityscapes), ("mask_folder", folder)],
)
def test_a_mask_that_cannot_be_read_is_advised_by_options_that_there_are(
    choice: str, make: object, mask: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"mask|label") as caught:
        make(tmp_path, mask)  # type: ignore[operator]  # all masks are looked at when the data is made
    advice = advised(str(caught.value), choice)
    assert advice, caught.value
    for chosen, option in advice:
        assert option in options_of(chosen), f"{option}, which data={chosen} lacks: {caught.value}"


def test_only_data_sets_advise_to_skip_a_damaged_image(tmp_path: Path) -> None:
    file = tmp_path / "train" / "cat" / "a.jpg"
    save(file, np.zeros((64, 64, 3), np.uint8))
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(ImageError, match=r"a\.jpg: damaged or truncated .* Fetch the file again or remove it\.$"):
        read_image(file)
    data = ImageFolder(root=tmp_path, split="train")
    with pytest.raises(ImageError, match=r"Fetch the file again or remove it\. bad_images='skip' leaves") as caught:
        data[0]
    assert advised(str(caught.value), "image_folder") == [("image_folder", "bad_images")]
    (tmp_path / "data.yaml").write_text("names: [cat]")
    (tmp_path / "images" / "train").mkdir(parents=True)
    (tmp_path / "images" / "train" / "a.jpg").touch()
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.1 0.1")
    with pytest.raises(ImageError, match=r"empty file .* bad_images='skip' leaves such images out\.$"):
        YoloDetection(root=tmp_path, split="train")


# A module's own choice, where it has one: what is written in it may be advised to nobody else.
@pytest.mark.parametrize(
    "choice",
    [
        *("ade20k", "cityscapes", "coco", "coco_masks", "coco_panoptic", "image_folder", "mask_folder", "voc"),
        *("voc_masks", "yolo"),
    ],
)
def test_what_a_formats_own_file_names_is_an_option_of_that_format(choice: str) -> None:
    named = set(re.findall(r"(?<![\w.])(\w+)=", " ".join(texts_of(DATA / "datasets" / f"{choice}.py"))))
    assert named & ALL_OPTIONS <= options_of(choice)


@pytest.mark.parametrize("room", ["data", "losses"])
def test_what_is_built_in_python_calls_its_options_as_python_does(room: str) -> None:
    texts = [text for path in sorted((DATA.parent / room).rglob("*.py")) for text in texts_of(path)]
    assert len(texts) > 40
    options = "|".join(ALL_OPTIONS)
    assert not [text for text in texts if re.search(rf"\bloss\.[a-z]|\bdata\.(?:{options})\b", text)]


def texts_of(path: Path) -> list[str]:
    """Its texts but docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)}
    found = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [text for text in found if text not in docstrings]
