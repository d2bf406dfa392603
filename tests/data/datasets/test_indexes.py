"""Every format whose reading is kept: the same with an index and without, read once, read anew after a change."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mnv2dense.data.datasets import (
    CocoMasks,
    MaskFolder,
    PanopticMasks,
    VocDetection,
    VocMasks,
    YoloDetection,
    annotation_index,
)
from mnv2dense.data.datasets.image_list import unreadable_images
from mnv2dense.data.datasets.image_table import ImageTable

SIZE = (10, 12)  # height, width


@pytest.fixture(autouse=True)
def _kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few and small files have an index, too."""
    monkeypatch.setattr(annotation_index, "WORTH_BYTES", 0)
    monkeypatch.setattr(annotation_index, "WORTH_FILES", 1)
    monkeypatch.setenv("MNV2DENSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MNV2DENSE_ANNOTATION_INDEX", raising=False)


@pytest.fixture
def writings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The readers whose answers were written, and so had read their files."""
    seen: list[str] = []
    write = annotation_index._write

    def noted(folder: Path, key: Any, columns: Any) -> None:  # noqa: ANN401
        seen.append(key["reader"].partition(" ")[0])
        write(folder, key, columns)

    monkeypatch.setattr(annotation_index, "_write", noted)
    return seen


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(path)


def mask(path: Path, labels: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros(SIZE, np.uint8)
    values[0, : len(labels)] = labels
    Image.fromarray(values).save(path)


def voc(root: Path) -> ImageTable:
    for number in (1, 2, 3):
        image(root / "JPEGImages" / f"{number:06d}.png")
        box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>7</ymax></bndbox>"
        objects = f"<object><name>{'cat' if number < 3 else 'newt'}</name>{box}</object>" * number
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{number:06d}.xml").write_text(f"<annotation>{objects}</annotation>")
    (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("000002\n000001\n")
    return VocDetection(root=root)


def yolo(root: Path) -> ImageTable:
    for name, text in (("a", "0 0.5 0.5 0.2 0.4\n1 0.25 0.5 0.5 0.5\n"), ("b", "")):
        image(root / "images" / "train" / f"{name}.png")
        (root / "labels" / "train").mkdir(parents=True, exist_ok=True)
        (root / "labels" / "train" / f"{name}.txt").write_text(text)
    (root / "classes.txt").write_text("cat\ndog\n")
    return YoloDetection(root=root)


def mask_folder(root: Path) -> ImageTable:
    for name, labels in (("a", [0, 1]), ("b", [2, 2, 255])):
        image(root / "train" / f"{name}.png")
        mask(root / "trainannot" / f"{name}.png", labels)
    return MaskFolder(root=root, split="train", class_names=["sky", "road", "car"])


def voc_masks(root: Path) -> ImageTable:
    image(root / "JPEGImages" / "a.png")
    mask(root / "SegmentationClass" / "a.png", [0, 15])
    (root / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n")
    return VocMasks(root=root)


def coco_masks(root: Path) -> ImageTable:
    content: dict[str, list[dict[str, Any]]] = {
        "images": [{"id": id_, "file_name": f"{id_}.png", "height": SIZE[0], "width": SIZE[1]} for id_ in (5, 6, 7)],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "tv"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 7, "segmentation": [[0, 0, 6, 0, 6, 6], [7, 7, 9, 7, 9, 9]]},
            {"id": 2, "image_id": 5, "category_id": 3, "segmentation": {"size": SIZE, "counts": [0, 50, 70]}},
            {"id": 3, "image_id": 7, "category_id": 3, "segmentation": [[1, 1, 3, 1, 3, 3]], "iscrowd": 1},
        ],
    }
    for row in content["annotations"]:
        row["bbox"] = [0, 0, 4, 4]
    for row in content["images"]:
        image(root / "train2017" / str(row["file_name"]))
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    return CocoMasks(root=root)


def panoptic(root: Path) -> ImageTable:
    segments = [{"id": 5, "category_id": 2}, {"id": 257, "category_id": 1, "iscrowd": 1}]
    content = {
        "images": [{"id": 9, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "sky"}],
        "annotations": [{"image_id": 9, "file_name": "a.png", "segments_info": segments}],
    }
    image(root / "train2017" / "a.png")
    colours = np.zeros((*SIZE, 3), np.uint8)
    colours[0, 0], colours[0, 1] = (5, 0, 0), (1, 1, 0)
    (root / "annotations" / "panoptic_train2017").mkdir(parents=True, exist_ok=True)
    Image.fromarray(colours).save(root / "annotations" / "panoptic_train2017" / "a.png")
    (root / "annotations" / "panoptic_train2017.json").write_text(json.dumps(content))
    return PanopticMasks(root=root)


Maker = Callable[[Path], ImageTable]
# Each with the files that it is of, one of which is written anew in a test, and the readers that have an index of it.
FORMATS: dict[Maker, tuple[str, set[str]]] = {
    voc: ("Annotations/000001.xml", {"voc-xml"}),
    yolo: ("labels/train/a.txt", {"yolo-labels", "image-sizes"}),
    mask_folder: ("trainannot/a.png", {"mask-check"}),
    voc_masks: ("SegmentationClass/a.png", {"mask-check"}),
    coco_masks: ("annotations/instances_train2017.json", {"coco-outlines", "image-sizes"}),
    panoptic: ("annotations/panoptic_train2017.json", {"coco-panoptic"}),
}
each = pytest.mark.parametrize("make", FORMATS, ids=lambda make: make.__name__)


def told(data: Any) -> list[Any]:  # noqa: ANN401
    """All that a data set says."""
    samples = [data[index] for index in range(len(data))]
    parts = [part.tolist() for sample in samples for part in sample[:4] if part is not None]
    truth = data.coco_ground_truth() if hasattr(data, "coco_ground_truth") else None
    return [parts, [(sample.image_id, sample.path) for sample in samples], data.class_names, truth]


def opened(make: Maker, root: Path) -> ImageTable:
    """What is there, opened as ``make`` does, but not written."""
    kinds: dict[Maker, tuple[Any, dict[str, Any]]] = {
        voc: (VocDetection, {}),
        yolo: (YoloDetection, {}),
        mask_folder: (MaskFolder, {"split": "train", "class_names": ["sky", "road", "car"]}),
        voc_masks: (VocMasks, {}),
        coco_masks: (CocoMasks, {}),
        panoptic: (PanopticMasks, {}),
    }
    kind, options = kinds[make]
    data: ImageTable = kind(root=root, **options)
    return data


@each
def test_it_is_read_once_and_says_the_same_with_an_index_and_without(
    make: Maker, tmp_path: Path, writings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = told(make(tmp_path / "data"))
    assert set(writings) == FORMATS[make][1]
    count = len(writings)
    mapped = opened(make, tmp_path / "data")
    assert told(mapped) == first
    assert len(writings) == count
    assert told(pickle.loads(pickle.dumps(mapped))) == first
    monkeypatch.setenv("MNV2DENSE_ANNOTATION_INDEX", "off")
    assert told(opened(make, tmp_path / "data")) == first
    assert len(writings) == count


@each
def test_a_file_that_changed_is_read_anew(make: Maker, tmp_path: Path, writings: list[str]) -> None:
    make(tmp_path / "data")
    count = len(writings)
    os.utime(tmp_path / "data" / FORMATS[make][0], ns=(0, 10**18))
    opened(make, tmp_path / "data")
    assert len(writings) == count + 1


def test_what_is_wrong_is_said_each_time_and_never_kept(tmp_path: Path) -> None:
    mask_folder(tmp_path / "masks")
    mask(tmp_path / "masks" / "trainannot" / "b.png", [7])
    yolo(tmp_path / "yolo")
    (tmp_path / "yolo" / "labels" / "train" / "b.txt").write_text("0 0.5 0.5 0.2\n")
    voc(tmp_path / "voc")
    (tmp_path / "voc" / "Annotations" / "000003.xml").write_text("<annotation>")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"b\.png: label 7 at pixel \(0, 0\)"):
            opened(mask_folder, tmp_path / "masks")
        with pytest.raises(ValueError, match=r"b\.txt, line 1: 3 values after the class"):
            opened(yolo, tmp_path / "yolo")
        with pytest.raises(ValueError, match=r"000003\.xml: not valid xml"):
            opened(voc, tmp_path / "voc")


def test_masks_checked_for_some_classes_are_checked_again_for_others(tmp_path: Path, writings: list[str]) -> None:
    mask_folder(tmp_path)
    with pytest.raises(ValueError, match=r"b\.png: label 2 at pixel"):
        MaskFolder(root=tmp_path, split="train", class_names=["sky", "road"])
    assert MaskFolder(root=tmp_path, split="train", class_names=["sky", "road"], ignored=[2]).shown == {0, 1, 255}
    assert opened(mask_folder, tmp_path).__dict__["shown"] == {0, 1, 2, 255}
    assert writings == ["mask-check"] * 2


def test_damaged_masks_and_images_are_left_out_alike_each_time(
    tmp_path: Path, writings: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    mask_folder(tmp_path)
    for name in ("c", "d"):
        image(tmp_path / "train" / f"{name}.png")
        mask(tmp_path / "trainannot" / f"{name}.png", [1])
    (tmp_path / "trainannot" / "c.png").write_bytes((tmp_path / "trainannot" / "c.png").read_bytes()[:45])
    (tmp_path / "train" / "d.png").write_bytes(b"<html>")
    for _ in range(2):
        caplog.clear()
        data = MaskFolder(root=tmp_path, split="train", class_names=["sky", "road", "car"], bad_images="skip")
        assert [path.name for path in data.paths] == ["a.png", "b.png"]
        assert data.mask_of(2)[0, :3].tolist() == [2, 2, 255]
        assert "skipped 1 damaged masks" in caplog.text
        assert "skipped 1 of 4 images: d.png" in caplog.text
    assert writings == ["mask-check", "decoded-images", "mask-check"]
    image(tmp_path / "train" / "d.png")
    assert not unreadable_images(list(data.paths))


def test_a_drawn_mask_needs_neither_the_json_nor_an_order_by_images(tmp_path: Path) -> None:
    coco_masks(tmp_path)
    data = opened(coco_masks, tmp_path)
    shown = data.mask_of(7)  # type: ignore[attr-defined]
    assert shown[1, 3] == 2  # of the tv
    assert shown[1, 2] == 255  # of the crowd in front of it
    assert shown[7, 8] == 2  # its second polygon
    assert not data.mask_of(6).any()  # type: ignore[attr-defined]
    assert np.count_nonzero(data.mask_of(5) == 1) == 50  # type: ignore[attr-defined]
