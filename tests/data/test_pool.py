"""Images of several splits in one row, divided anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mnv2dense.data.datasets import ImageFolder, MaskFolder, YoloDetection
from mnv2dense.data.pool import Pool, divided
from mnv2dense.data.splits import SplitPlan
from mnv2dense.workflows import convert


def yolo(root: Path, **splits: dict[str, str]) -> dict[str, YoloDetection]:
    """Split -> name of an image -> lines of its label file."""
    for split, images in splits.items():
        for name, lines in images.items():
            for path in (root / "images" / split / name, root / "labels" / split / name):
                path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 20)).save(root / "images" / split / name)
            (root / "labels" / split / name).with_suffix(".txt").write_text(lines)
    (root / "data.yaml").write_text("names: [cat, dog]\n")
    return {split: YoloDetection(root=root, split=split) for split in splits}


BOX = "0 0.5 0.5 0.5 0.5\n"


def test_an_image_that_two_lists_share_is_there_once(tmp_path: Path) -> None:
    data = yolo(tmp_path, train={"a.jpg": BOX, "b.jpg": BOX}, val={"c.jpg": BOX, "a.jpg": BOX})
    (tmp_path / "val.txt").write_text("./images/train/b.jpg\n./images/val/a.jpg\n./images/val/c.jpg\n")
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\nval: val.txt\n")
    data["val"] = YoloDetection(root=tmp_path, split="val")
    pool = Pool.of(data)
    assert [path.name for path in pool.paths] == ["a.jpg", "b.jpg", "a.jpg", "c.jpg"]
    assert pool.splits == {"train": [0, 1], "val": [2, 3]}
    assert [note.count for note in pool.notes] == [1]
    assert pool.unique_names() == ["a.jpg", "b.jpg", "val/a.jpg", "val/c.jpg"]
    done = convert(data, tmp_path / "out", to="coco", plan=SplitPlan(val=0.5))
    assert dict(done.splits) == {"train": 2, "val": 2}


def test_files_that_belong_together_are_on_one_side_whatever_the_seed(tmp_path: Path) -> None:
    data = yolo(tmp_path, train={f"{n}.jpg": BOX for n in range(8)}, val={f"{n}.jpg": BOX for n in range(8)})
    pairs = [(tmp_path / "images/train" / f"{n}.jpg", tmp_path / "images/val" / f"{n}.jpg") for n in range(8)]
    elsewhere = [(Path("x.jpg"), tmp_path / "images/train/0.jpg")]
    for seed in range(5):
        parts = divided(Pool.of(data), SplitPlan(val=0.25, seed=seed), [*pairs, *elsewhere])[""]
        for places in parts.values():
            assert sorted(place % 8 for place in places if place < 8) == sorted(
                place % 8 for place in places if place >= 8
            )
        assert len(parts["val"]) == 4


def test_masks_are_read_to_know_which_classes_they_show(tmp_path: Path) -> None:
    for number in range(8):
        mask = np.zeros((6, 6), np.uint8)
        mask[0] = 255
        mask[1] = 1 if number < 4 else 0  # four of eight show class 1
        for kind, image in (("images", Image.new("RGB", (6, 6))), ("masks", Image.fromarray(mask))):
            (tmp_path / kind / "train").mkdir(parents=True, exist_ok=True)
            image.save(tmp_path / kind / "train" / f"{number}.png")
    data = MaskFolder(root=tmp_path, split="train", class_names=["sky", "car"])
    pool = Pool.of({"train": data})
    assert pool.labels() == [[0, 1]] * 4 + [[0]] * 4
    for seed in range(5):
        parts = divided(pool, SplitPlan(val=0.5, seed=seed))[""]
        assert [sum(place < 4 for place in places) for places in parts.values()] == [2, 2]


def test_classes_of_whole_images_are_divided_into_lists(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (6, 6)).save(tmp_path / "train" / name / f"{number}.png")
    data: Any = ImageFolder(root=tmp_path, split="train")
    convert({"train": data}, tmp_path / "out", to="lists", plan=SplitPlan(val=0.5))
    listed = (tmp_path / "out" / "val.txt").read_text().splitlines()
    assert sorted(Path(path).parent.name for path in listed) == ["cat", "cat", "dog", "dog"]


def test_ids_that_both_splits_use_are_counted_anew(tmp_path: Path) -> None:
    data = yolo(tmp_path, train={"a.jpg": BOX, "b.jpg": BOX + BOX}, val={"c.jpg": "", "d.jpg": BOX})
    convert(data, tmp_path / "out", to="yolo", plan=SplitPlan(val=0.5, by="random"))
    both = [YoloDetection(root=tmp_path / "out", split=split) for split in ("train", "val")]
    ids = [image_id for each in both for image_id in each.image_ids]
    assert sorted(ids) == [1, 2, 3, 4]
    assert sum(each.box_counts[0] for each in both) == 4


def test_data_that_does_not_tell_its_classes_is_divided_at_random_alone(tmp_path: Path) -> None:
    class Silent:
        class_names = ("a",)
        paths = (tmp_path / "a.jpg",)

    pool = Pool.of({"train": Silent()})  # type: ignore[dict-item]  # it need not be whole
    with pytest.raises(ValueError, match=r"Silent does not tell which classes an image shows; split\.by=random"):
        pool.labels()
