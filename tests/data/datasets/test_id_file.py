"""ids.json: ids that YOLO and VOC have no place for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from mnv2dense.data.datasets import VocDetection, YoloDetection
from mnv2dense.data.datasets.id_file import IdFile


def yolo(root: Path, *, ids: object = None) -> Path:
    for name in ("a", "b", "c"):
        (root / "images" / "train").mkdir(parents=True, exist_ok=True)
        (root / "labels" / "train").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20)).save(root / "images" / "train" / f"{name}.jpg")
        (root / "labels" / "train" / f"{name}.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    (root / "data.yaml").write_text("names: [cat, dog]\n")
    if ids is not None:
        (root / "ids.json").write_text(json.dumps(ids))
    return root


def test_a_reader_takes_the_ids_that_are_kept_and_counts_on_for_others(tmp_path: Path) -> None:
    kept = {"categories": {"dog": 18, "cat": 17}, "images": {"images/train/b.jpg": 500, "images/train/a.jpg": 7}}
    data = YoloDetection(root=yolo(tmp_path, ids=kept))
    assert list(data.image_ids) == [7, 500, 501]
    assert data.category_ids == [17, 18]
    assert data.class_names == ("cat", "dog")


def test_a_class_that_was_added_gets_the_next_id(tmp_path: Path) -> None:
    ids = IdFile(tmp_path, {"cat": 17, "dog": 3}, {})
    assert ids.of_classes(["cat", "bird", "dog", "cow"]) == [17, 18, 3, 19]


def test_without_the_file_ids_are_as_always(tmp_path: Path) -> None:
    data = YoloDetection(root=yolo(tmp_path))
    assert (list(data.image_ids), data.category_ids) == ([1, 2, 3], [0, 1])


def test_voc_keeps_the_order_of_classes_and_adds_those_that_were_drawn_since(tmp_path: Path) -> None:
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / name).mkdir(parents=True)
    Image.new("RGB", (40, 20)).save(tmp_path / "JPEGImages" / "a.jpg")
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    objects = "".join(f"<object><name>{name}</name>{box}</object>" for name in ("ape", "zebra"))
    (tmp_path / "Annotations" / "a.xml").write_text(f"<annotation>{objects}</annotation>")
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a\n")
    (tmp_path / "ids.json").write_text(json.dumps({"categories": {"zebra": 5, "dog": 2}}))
    data = VocDetection(root=tmp_path, split="train")
    assert data.class_names == ("zebra", "dog", "ape")
    assert list(data.category_ids) == [5, 2, 6]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid json"),
        ("[]", "'categories' is no mapping of names to whole numbers"),
        ('{"images": {"a": "1"}}', "'images' is no mapping of names to whole numbers"),
        ('{"categories": {"cat": 1, "dog": 1}}', "two categories have the same id"),
    ],
)
def test_a_file_that_is_wrong_is_named(content: str, message: str, tmp_path: Path) -> None:
    yolo(tmp_path)
    (tmp_path / "ids.json").write_text(content)
    with pytest.raises(ValueError, match=rf"ids\.json: .*{message}"):
        YoloDetection(root=tmp_path)


def test_regions_to_ignore_lie_beside_the_labels(tmp_path: Path) -> None:
    root = yolo(tmp_path)
    (root / "ignored" / "train").mkdir(parents=True)
    (root / "ignored" / "train" / "b.txt").write_text("0 0.25 0.5 0.5 1\n")
    data = YoloDetection(root=root)
    assert data.ignored_count == 1
    assert data.box_counts == [0, 3]
    assert data[1].labels is not None
    assert data[1].labels.tolist() == [1, -2]
    assert data[1].boxes is not None
    assert data[1].boxes.tolist() == [[10, 5, 30, 15], [0, 0, 20, 20]]
    (root / "ignored" / "train" / "b.txt").write_text("9 0.25 0.5 0.5 1\n")
    with pytest.raises(ValueError, match=r"ignored/train/b\.txt, line 1: class 9 is not among"):
        YoloDetection(root=root)
