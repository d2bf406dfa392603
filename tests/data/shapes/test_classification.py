from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mnv2dense.data.shapes.classification import ShapeCrops
from mnv2dense.data.shapes.detection import Shapes


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> ShapeCrops:
    return ShapeCrops(root=tmp_path_factory.mktemp("crops") / "shapes", train_images=6, val_images=1)


def test_every_crop_is_a_square_around_a_shape_of_its_class(crops: ShapeCrops, tmp_path: Path) -> None:
    shapes = Shapes(root=tmp_path / "shapes", train_images=6, val_images=1)
    assert crops.class_names == shapes.class_names
    wide = [row for row in shapes.coco_ground_truth()["annotations"] if min(row["bbox"][2:]) >= 16]
    assert len(crops) == len(wide) > 6
    for index, row in enumerate(wide):
        sample = crops[index]
        height, width = sample.image.shape[:2]
        assert height == width >= min(max(row["bbox"][2:]), 240)
        assert sample.labels is not None
        assert sample.labels.tolist() == [row["category_id"] - 1]
        assert sample.boxes is None
        # The shape lies in the crop whole: its box's pixels are there, in its middle or moved by the border.
        image = shapes[row["image_id"] - 1].image
        left, top, box_width, box_height = map(int, row["bbox"])
        box = image[top : top + box_height, left : left + box_width]
        if max(box.shape) + 4 > min(image.shape[:2]):  # too long for a square of this image
            continue
        windows = np.lib.stride_tricks.sliding_window_view(sample.image, box.shape)[:, :, 0]
        assert (windows == box).all(axis=(2, 3, 4)).any()
        assert crops.path_of(sample.image_id) == sample.path


def test_a_limit_takes_the_first(tmp_path: Path) -> None:
    assert len(ShapeCrops(root=tmp_path / "shapes", train_images=3, val_images=1, limit=2)) == 2


def test_places_count_from_either_end_and_unknown_ids_are_refused(crops: ShapeCrops) -> None:
    assert crops[-1].image_id == len(crops)
    assert crops.path_of(len(crops)) == crops[-1].path
    for image_id in (0, -1, len(crops) + 1):
        with pytest.raises(LookupError, match=f"no image has the id {image_id} "):
            crops.path_of(image_id)
