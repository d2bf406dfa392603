from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mnv2dense.data.datasets.voc_masks import VocMasks
from mnv2dense.types.class_lists import VOC_MASK_CLASSES


def devkit(root: Path, year: str = "2012", masks: str = "SegmentationClass", **labels: npt.ArrayLike) -> Path:
    """A devkit with an image for each of ``labels``; all are in val."""
    folder = root / f"VOC{year}"
    for name in ("JPEGImages", masks, "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for stem, label in labels.items():
        mask = Image.fromarray(np.array(label, np.uint8))
        mask.putpalette([128, 0, 0] * 256)
        mask.save(folder / masks / f"{stem}.png")
        Image.fromarray(np.zeros((*np.shape(label), 3), np.uint8)).save(folder / "JPEGImages" / f"{stem}.jpg")
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text("\n".join(labels) + "\n")
    return root


def test_palette_indices_are_classes_and_borders_are_ignored(tmp_path: Path) -> None:
    data = VocMasks(root=devkit(tmp_path, a=[[0, 255, 15]], b=[[20, 20, 0]]), split="val")
    assert data.class_names == VOC_MASK_CLASSES
    assert data.palette[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert data.mask_of(1).tolist() == [[0, 255, 15]]
    assert data[1].mask.tolist() == [[20, 20, 0]]  # type: ignore[union-attr]
    assert data.path_of(2).name == "b.jpg"


def test_the_outlines_of_others_lie_beside_them(tmp_path: Path) -> None:
    root = devkit(tmp_path, masks="SegmentationClassAug", a=[[0, 1]])
    assert VocMasks(root=root, split="val", masks="SegmentationClassAug").mask_of(1).tolist() == [[0, 1]]
    with pytest.raises(FileNotFoundError, match=r"no SegmentationClass folder in .* with SegmentationClass, JPEG"):
        VocMasks(root=root, split="val")


def test_own_classes_in_vocs_layout(tmp_path: Path) -> None:
    root = devkit(tmp_path, year="2007", a=[[0, 2]])
    with pytest.raises(ValueError, match=r"a.png: label 2 at pixel \(0, 1\), but the data set has 2 classes"):
        VocMasks(root=root, year=2007, split="val", class_names=["background", "crack"])


def test_missing_lists_and_masks_are_named(tmp_path: Path) -> None:
    root = devkit(tmp_path, a=[[0]], b=[[0]])
    with pytest.raises(FileNotFoundError, match=r"Segmentation/train.txt: no such split; there are: val"):
        VocMasks(root=root, split="train")
    (root / "VOC2012" / "SegmentationClass" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 images have no mask: b.jpg"):
        VocMasks(root=root, split="val")
