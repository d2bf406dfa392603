from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mnv2dense.data.shapes.detection import Shapes
from mnv2dense.data.shapes.segmentation import ShapeMasks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("masks") / "shapes"


def test_masks_show_what_the_boxes_hold(folder: Path) -> None:
    data = ShapeMasks(root=folder, train_images=8, val_images=1)
    shapes = Shapes(root=folder, train_images=8, val_images=1)
    assert data.class_names == ("background", *shapes.class_names)
    truth = shapes.coco_ground_truth()
    for index, image in enumerate(truth["images"]):
        sample = data[index]
        assert sample.mask is not None
        assert sample.mask.shape == (image["height"], image["width"]) == sample.image.shape[:2]
        assert (data.mask_of(image["id"]) == sample.mask).all()
        rows = [row for row in truth["annotations"] if row["image_id"] == image["id"]]
        pixels = np.bincount(sample.mask.ravel(), minlength=7)
        for label in range(1, 7):
            assert pixels[label] == sum(row["area"] for row in rows if row["category_id"] == label)
        for row in rows:  # its class touches every side of its box
            left, top, width, height = map(int, row["bbox"])
            box = sample.mask[top : top + height, left : left + width] == row["category_id"]
            assert box.any(axis=0)[[0, -1]].all()
            assert box.any(axis=1)[[0, -1]].all()


def test_a_limit_takes_the_first(folder: Path) -> None:
    assert len(ShapeMasks(root=folder, train_images=8, val_images=1, limit=3)) == 3


def test_no_image_is_read_before_it_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ShapeMasks(root=folder, train_images=8, val_images=1)

    def read_image(path: Path) -> None:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("mnv2dense.data.datasets.image_list.read_image", read_image)
    assert len(ShapeMasks(root=folder, train_images=8, val_images=1)) == 8
