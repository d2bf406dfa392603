from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mnv2dense.data.datasets.coco import CocoDetection
from mnv2dense.data.shapes import detection as shapes
from mnv2dense.data.shapes.detection import Shapes, draw_shapes
from mnv2dense.data.shapes.drawing import SHAPE_CLASSES, draw_image


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp("shapes") / "drawn", train=40, val=10, size=160)


def small(root: Path, split: str = "train") -> Shapes:
    return Shapes(root=root, split=split, train_images=40, val_images=10, image_size=160)


def test_both_splits_are_read_by_the_coco_reader(drawn: Path) -> None:
    train, val = small(drawn), small(drawn, "val")
    assert (len(train), len(val)) == (40, 10)
    assert train.class_names == val.class_names == SHAPE_CLASSES
    again = CocoDetection(root=drawn, split="train")
    assert again[3].boxes.tolist() == train[3].boxes.tolist()
    assert (again.dropped_boxes, again.clipped_boxes) == (0, 0)


def test_train_and_val_share_no_image_and_no_id(drawn: Path) -> None:
    train, val = small(drawn), small(drawn, "val")
    ids = [sample.image_id for data in (train, val) for sample in (data[i] for i in range(len(data)))]
    assert len(set(ids)) == 50
    assert train.path_of(1).read_bytes() != val.path_of(41).read_bytes()


def test_images_have_the_size_asked_for_and_hold_every_class(drawn: Path) -> None:
    data = small(drawn)
    samples = [data[i] for i in range(len(data))]
    assert all(min(sample.image.shape[:2]) == 160 for sample in samples)
    assert all(max(sample.image.shape[:2]) <= 214 for sample in samples)
    assert set(np.concatenate([sample.labels for sample in samples]).tolist()) == set(range(6))
    assert max(len(sample.labels) for sample in samples) > 3


def test_boxes_and_areas_are_those_of_the_visible_pixels(drawn: Path) -> None:
    from pycocotools import mask

    content = json.loads((drawn / "annotations" / "instances_train.json").read_text())
    for row in content["annotations"]:
        runs = mask.frPyObjects(row["segmentation"], *row["segmentation"]["size"])
        assert mask.area(runs) == row["area"]
        assert mask.toBbox(runs).tolist() == row["bbox"]


def test_the_owners_of_pixels_are_numbered_like_the_labels() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        image, labels, owners = draw_image(rng, 96)
        assert image.shape == (*owners.shape, 3)
        assert image.dtype == np.uint8
        assert set(owners.ravel().tolist()) - {0} == set(range(1, len(labels) + 1))


def test_a_ring_has_a_hole_that_shows_what_is_behind(drawn: Path) -> None:
    content = json.loads((drawn / "annotations" / "instances_train.json").read_text())
    ring = SHAPE_CLASSES.index("ring") + 1
    rows = [row for row in content["annotations"] if row["category_id"] == ring and min(row["bbox"]) > 0]
    left, top, width, height = rows[0]["bbox"]
    runs = rows[0]["segmentation"]["counts"]
    down_the_columns = np.repeat(np.arange(len(runs)) % 2, runs)
    visible = down_the_columns.reshape(rows[0]["segmentation"]["size"], order="F")
    assert visible[top + height // 2, left + width // 2] == 0
    assert visible.sum() == rows[0]["area"]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(drawn: Path, tmp_path: Path) -> None:
    again = draw_shapes(tmp_path / "again", train=40, val=10, size=160)
    files = sorted(path.relative_to(drawn) for path in drawn.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((drawn / file).read_bytes() == (again / file).read_bytes() for file in files)
    other = draw_shapes(tmp_path / "other", seed=1, train=2, val=1, size=160)
    assert (other / "train" / "000001.jpg").read_bytes() != (drawn / "train" / "000001.jpg").read_bytes()


def test_the_first_images_do_not_depend_on_how_many_follow(drawn: Path, tmp_path: Path) -> None:
    fewer = draw_shapes(tmp_path / "fewer", train=3, val=1, size=160)
    for name in ("000001.jpg", "000003.jpg"):
        assert (fewer / "train" / name).read_bytes() == (drawn / "train" / name).read_bytes()


def test_a_folder_that_is_there_is_not_drawn_again(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "_draw_split", lambda *_, **__: pytest.fail("drawn again"))
    assert draw_shapes(drawn, train=40, val=10, size=160) == drawn


def test_two_that_draw_at_once_leave_one_complete_folder(tmp_path: Path) -> None:
    folder = tmp_path / "race"
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: draw_shapes(folder, train=4, val=2, size=64), range(3)))
    assert len(CocoDetection(root=folder, split="val")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["race"]


def test_a_drawing_that_is_cut_short_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> dict[str, object]:
        raise OSError("no space left on device")

    monkeypatch.setattr(shapes, "_describe", full)
    with pytest.raises(OSError, match="no space left"):
        draw_shapes(tmp_path / "cut", train=9, val=2, size=64)
    assert list(tmp_path.iterdir()) == []


def test_the_cache_folder_is_named_by_the_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNV2DENSE_CACHE", str(tmp_path / "my cache"))
    for seed in (0, 1, 0):
        data = Shapes(seed=seed, train_images=2, val_images=1, image_size=64)
        assert data.path_of(1).parts[-4] == "my cache"
    names = [path.name for path in (tmp_path / "my cache").iterdir()]
    assert len(names) == 2
    assert all(name.startswith("shapes-") for name in names)


def test_a_folder_with_other_content_is_left_alone(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"drawn with .*'seed': 0.*not shapes drawn with .*'seed': 5"):
        draw_shapes(drawn, seed=5, train=40, val=10, size=160)
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(ValueError, match="holds something else"):
        draw_shapes(tmp_path)
    assert (tmp_path / "holiday.jpg").exists()


def test_a_cache_that_cannot_be_written_is_told_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot draw shapes into .*Set MNV2DENSE_CACHE or root="):
        draw_shapes(tmp_path / "file" / "shapes")


def test_wrong_options_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split='test': shapes have the splits 'train' and 'val'"):
        Shapes(split="test")
    with pytest.raises(ValueError, match="train=0, val=200, size=240: draw at least 1 image"):
        draw_shapes(tmp_path / "none", train=0)


def test_limit_reads_only_the_first_images(drawn: Path) -> None:
    data = Shapes(root=drawn, train_images=40, val_images=10, image_size=160, limit=5)
    assert len(data) == 5
    assert len(data.coco_ground_truth()["images"]) == 5
