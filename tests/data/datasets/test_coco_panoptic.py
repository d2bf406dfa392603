from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mnv2dense.data.datasets.coco_panoptic import PanopticMasks

CATEGORIES = [{"id": 200, "name": "rug-merged"}, {"id": 1, "name": "person"}, {"id": 72, "name": "tv"}]
# Of an image of one row: no segment, a person, a rug, a crowd of persons, a tv.
IDS = [0, 5, 70_000, 3_000_000, 256]
SEGMENTS: list[dict[str, Any]] = [
    {"id": 5, "category_id": 1, "iscrowd": 0},
    {"id": 70_000, "category_id": 200, "iscrowd": 0},
    {"id": 3_000_000, "category_id": 1, "iscrowd": 1},
    {"id": 256, "category_id": 72},
]


def data_set(root: Path, segments: list[dict[str, Any]] = SEGMENTS, **row: object) -> Path:
    (root / "val").mkdir(exist_ok=True)
    (root / "annotations" / "panoptic_val").mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((1, len(IDS), 3), np.uint8)).save(root / "val" / "a.jpg")
    colors = [[id_ % 256, id_ // 256 % 256, id_ // 65536] for id_ in IDS]
    Image.fromarray(np.array([colors], np.uint8)).save(root / "annotations" / "panoptic_val" / "a.png")
    content = {
        "images": [{"id": 9, "file_name": "a.jpg", "height": 1, "width": len(IDS)}],
        "categories": CATEGORIES,
        "annotations": [{"image_id": 9, "file_name": "a.png", "segments_info": segments} | row],
    }
    (root / "annotations" / "panoptic_val.json").write_text(json.dumps(content))
    return root


def test_colours_are_segments_and_segments_have_classes(tmp_path: Path) -> None:
    data = PanopticMasks(root=data_set(tmp_path), split="val")
    assert data.class_names == ("person", "tv", "rug-merged")  # by category id
    assert data.mask_of(9).tolist() == [[255, 0, 2, 255, 1]]
    assert data[0].mask.tolist() == [[255, 0, 2, 255, 1]]  # type: ignore[union-attr]
    assert data.path_of(9) == tmp_path / "val" / "a.jpg"
    assert pickle.loads(pickle.dumps(data)).mask_of(9).dtype == np.uint8


def test_categories_are_mapped_ignored_or_of_one_class(tmp_path: Path) -> None:
    options: dict[str, Any] = {"root": data_set(tmp_path), "split": "val", "class_names": ["background", "human"]}
    options |= {"class_map": {"person": "human"}}
    assert PanopticMasks(**options).mask_of(9).tolist() == [[255, 1, 255, 255, 255]]
    assert PanopticMasks(**options, others="background").mask_of(9).tolist() == [[255, 1, 0, 255, 0]]
    with pytest.raises(ValueError, match=r"others='rest' is no class; the classes are: background, human"):
        PanopticMasks(**options, others="rest")


def test_a_segment_that_the_json_does_not_know_is_named(tmp_path: Path) -> None:
    data = PanopticMasks(root=data_set(tmp_path, SEGMENTS[:1]), split="val")
    with pytest.raises(
        ValueError, match=r"a.png: segment 70000 at pixel \(0, 2\) is not in the json's 'segments_info'"
    ):
        data.mask_of(9)


def test_rows_are_looked_at_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = PanopticMasks(root=data_set(tmp_path), split="val")
    path = tmp_path / "annotations" / "panoptic_val" / "a.png"
    image = np.repeat(np.asarray(Image.open(path)), 4, axis=0)
    image[2:, 0] = (5, 0, 0)
    Image.fromarray(image).save(path)
    monkeypatch.setattr("mnv2dense.data.datasets.coco_panoptic._CHUNK", 3 * len(IDS))
    assert data.mask_of(9).tolist() == [[255, 0, 2, 255, 1]] * 2 + [[0, 0, 2, 255, 1]] * 2
    image[3, 4] = (7, 0, 0)
    Image.fromarray(image).save(path)
    with pytest.raises(ValueError, match=r"segment 7 at pixel \(3, 4\)"):
        data.mask_of(9)


def test_a_mask_without_colours_is_refused(tmp_path: Path) -> None:
    data = PanopticMasks(root=data_set(tmp_path), split="val")
    Image.fromarray(np.zeros((1, len(IDS)), np.uint8)).save(tmp_path / "annotations" / "panoptic_val" / "a.png")
    with pytest.raises(ValueError, match=r"segments are numbered by colours.*data=mask_folder"):
        data[0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"segments_info": None}, r"annotations\[0\] has no 'file_name' or no 'segments_info'.* use data=coco_masks"),
        ({"image_id": 4}, "has image_id 4, not in 'images'"),
        ({"segments_info": [{"id": 0, "category_id": 1}]}, "a.png has a segment without a valid id"),
        ({"segments_info": [{"id": 1, "category_id": 2}]}, "segment 1 of a.png has category_id 2, which"),
        ({"file_name": "b.png"}, "1 of 1 images have no mask: a.jpg; the first would be b.png"),
    ],
)
def test_a_wrong_json_is_found_before_training(tmp_path: Path, row: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        PanopticMasks(root=data_set(tmp_path, **row), split="val")
