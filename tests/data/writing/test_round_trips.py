"""COCO to another format and back: boxes, classes, ids and crowds, on sets made to be difficult and on real images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest

from mnv2dense.data.datasets import CocoDetection, VocDetection, YoloDetection
from mnv2dense.data.datasets.box_table import BoxTable
from mnv2dense.protocols import Dataset
from mnv2dense.workflows import convert
from tests.helpers.random_coco import random_coco

Middle = Literal["yolo", "voc", "exact voc", "coco"]

# Ten decimals of a share, six of a pixel, and VOC's integers.
BOUNDS: Mapping[Middle, float] = {"coco": 0, "yolo": 1e-6, "exact voc": 1e-6, "voc": 0.5}


def through(middle: Middle, splits: Mapping[str, Dataset], folder: Path) -> dict[str, CocoDetection]:
    """The same splits, written in a format and from there as COCO again."""
    first, last = folder / "first", folder / "last"
    if middle == "coco":
        convert(splits, first, to="coco", images="link")
        return {name: CocoDetection(root=first, split=name) for name in splits}
    to: Any = middle.removeprefix("exact ")
    convert(splits, first, to=to, images="link", corners="exact" if "exact" in middle else "whole")
    kind = YoloDetection if to == "yolo" else VocDetection
    convert({name: kind(root=first, split=name) for name in splits}, last, to="coco", images="link")
    return {name: CocoDetection(root=last, split=name) for name in splits}


def of_image(data: BoxTable, image_id: int) -> npt.NDArray[np.float64]:
    """label, crowd, x1, y1, x2, y2 of its objects, in the data set's order: [N, 6]."""
    rows = data.objects.rows(data.objects.images == data.place_of(image_id))
    corners = np.concatenate([rows.boxes[:, :2], rows.boxes[:, :2] + rows.boxes[:, 2:]], axis=1)
    return np.column_stack([rows.labels, rows.ignored, corners])


def compare(before: BoxTable, after: BoxTable, *, within: float) -> int:
    """Both have the same images and classes under the same ids, and the same objects within so many pixels."""
    assert after.class_names == before.class_names
    assert after.category_ids == before.category_ids
    assert sorted(after.image_ids) == sorted(before.image_ids)
    count = 0
    for image_id in before.image_ids:
        old, new = of_image(before, image_id), of_image(after, image_id)
        old = np.concatenate([old[old[:, 1] == 0], old[old[:, 1] == 1]])  # YOLO's regions to ignore come last
        new = np.concatenate([new[new[:, 1] == 0], new[new[:, 1] == 1]])
        assert old.shape == new.shape
        assert (old[:, :2] == new[:, :2]).all()
        assert np.abs(old[:, 2:] - new[:, 2:]).max(initial=0) <= within + 1e-9
        assert before.path_of(image_id).read_bytes() == after.path_of(image_id).read_bytes()
        count += len(old)
    return count


@pytest.mark.parametrize("middle", list(BOUNDS))
def test_random_sets_come_back(middle: Middle, tmp_path: Path) -> None:
    compared = 0
    for seed in range(5):
        root = random_coco(tmp_path / str(seed) / "coco", seed=seed)
        before = CocoDetection(root=root, split="train")
        after = through(middle, {"train": before}, tmp_path / str(seed))["train"]
        compared += compare(before, after, within=BOUNDS[middle])
    assert compared > 100


@pytest.mark.parametrize("middle", list(BOUNDS))
def test_real_images_come_back(middle: Middle, shared: Path, tmp_path: Path) -> None:
    root = shared / "data" / "coco_mini"
    before = {name: CocoDetection(root=root, split=f"{name}2017", limit=100) for name in ("train", "val")}
    after = through(middle, before, tmp_path)
    for name in before:
        assert compare(before[name], after[name], within=BOUNDS[middle]) > 500
        assert after[name].ignored_count == before[name].ignored_count > 0


def test_of_coco_every_field_of_a_row_is_handed_on(tmp_path: Path) -> None:
    root = random_coco(tmp_path / "coco", seed=3)
    file = root / "annotations" / "instances_train.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["annotations"][0]["attributes"] = {"blurred": True}
    content["licenses"] = [{"id": 3, "name": "CC"}]
    file.write_text(json.dumps(content), encoding="utf-8")
    convert({"train": CocoDetection(root=root, split="train")}, tmp_path / "out", to="coco")
    written = json.loads((tmp_path / "out" / "annotations" / "instances_train.json").read_text(encoding="utf-8"))
    assert written["licenses"] == content["licenses"]
    assert written["categories"] == content["categories"]
    # Two names that are one on some disks: the second gets a number.
    (second,) = (row for row in written["images"] if row["file_name"].endswith("_2.jpg"))
    second["file_name"] = second["file_name"].replace("_2", "")
    assert written["images"] == content["images"]
    by_id = {row["id"]: row for row in written["annotations"]}
    assert by_id == {row["id"]: row for row in content["annotations"]}


def test_pictures_and_labels_of_the_original_are_not_touched(tmp_path: Path) -> None:
    root = random_coco(tmp_path / "coco", seed=1)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}
    data = {"train": CocoDetection(root=root, split="train")}
    for images in ("copy", "link", "none"):
        for to in ("coco", "voc", "yolo"):
            convert(data, tmp_path / f"{to}_{images}", to=to, images=images)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    copied, linked = (next((tmp_path / f"yolo_{images}").rglob("plain.jpg")) for images in ("copy", "link"))
    original = root / "train" / "plain.jpg"
    assert not copied.samefile(original)
    assert linked.samefile(original)
    assert not list((tmp_path / "yolo_none").rglob("*.jpg"))
