from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools import mask as coco_mask

from mnv2dense.cli.shell import conf_folder
from mnv2dense.data.datasets.coco_masks import CocoMasks
from mnv2dense.data.datasets.coco_rle import decoded_runs, runs_of_valid
from mnv2dense.types.class_lists import VOC_MASK_CLASSES, voc_palette

SIZE = (10, 12)  # height, width
CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 7, "name": "tv"}, {"id": 9, "name": "kite"}]


def square(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def row(category: int, segmentation: object, **more: object) -> dict[str, Any]:
    return {"image_id": 5, "category_id": category, "bbox": [0, 0, 4, 4], "segmentation": segmentation, **more}


def data_set(root: Path, *rows: dict[str, Any], size: tuple[int, int] | None = SIZE) -> Path:
    images: list[dict[str, Any]] = [{"id": 5, "file_name": "a.png"}, {"id": 6, "file_name": "b.png"}]
    (root / "val").mkdir(exist_ok=True)
    for image in images:
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(root / "val" / image["file_name"])
        image |= {"height": size[0], "width": size[1]} if size else {}
    content = {
        "images": images,
        "categories": CATEGORIES,
        "annotations": [{"id": number, **entry} for number, entry in enumerate(rows, start=1)],
    }
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / "instances_val.json").write_text(json.dumps(content))
    return root


def test_the_larger_object_is_painted_first_whatever_the_order(tmp_path: Path) -> None:
    small, large = row(3, square(2, 2, 4, 4)), row(7, square(0, 0, 8, 8))
    masks = []
    for rows in ((small, large), (large, small)):
        data = CocoMasks(root=data_set(tmp_path, *rows), split="val")
        assert data.class_names == ("background", "cat", "tv", "kite")
        masks.append(data.mask_of(5))
    assert (masks[0] == masks[1]).all()
    assert np.bincount(masks[0].ravel()).tolist() == [120 - 64, 4, 64 - 4]
    assert (masks[0][2:4, 2:4] == 1).all()


def test_crowds_are_ignored_and_objects_in_front_of_them_are_not(tmp_path: Path) -> None:
    runs = {"size": list(SIZE), "counts": [0, 50, 70]}  # five columns of ten
    data = CocoMasks(root=data_set(tmp_path, row(7, square(0, 0, 2, 2)), row(3, runs, iscrowd=1)), split="val")
    mask = data.mask_of(5)
    assert (mask[:2, :2] == 2).all()
    assert np.bincount(mask.ravel(), minlength=256)[[0, 2, 255]].tolist() == [70, 4, 46]


def test_a_image_without_annotations_is_background(tmp_path: Path) -> None:
    sample = CocoMasks(root=data_set(tmp_path, row(3, square(0, 0, 2, 2))), split="val")[1]
    assert sample.image_id == 6
    assert sample.mask is not None
    assert sample.mask.shape == SIZE == sample.image.shape[:2]
    assert not sample.mask.any()
    assert sample.boxes is None


def test_categories_go_by_name_by_the_map_or_to_the_background(tmp_path: Path) -> None:
    root = data_set(
        tmp_path, row(3, square(0, 0, 2, 2)), row(7, square(4, 0, 6, 2)), row(9, square(8, 0, 10, 2), iscrowd=1)
    )
    names = ["background", "tvmonitor", "cat"]
    mask = CocoMasks(root=root, split="val", class_names=names, class_map={"tv": "tvmonitor"}).mask_of(5)
    assert [int(mask[0, column]) for column in (0, 4, 8)] == [2, 1, 0]
    with pytest.raises(ValueError, match=r"class_map has tv: telly, but the classes are: background, tvmonitor, cat"):
        CocoMasks(root=root, split="val", class_names=names, class_map={"tv": "telly"})
    with pytest.raises(ValueError, match=r"none of its categories is a class.* as in \{cat: dog\}"):
        CocoMasks(root=root, split="val", class_names=["background", "dog"])
    with pytest.raises(ValueError, match=r"begins with 'cat', .* class_names=\[background,cat,...\]"):
        CocoMasks(root=root, split="val", class_names=["cat", "tv"])


def test_polygons_that_enclose_nothing_are_left_out(tmp_path: Path) -> None:
    # Four numbers are two corners; pycocotools would paint them as a box.
    data = CocoMasks(root=data_set(tmp_path, row(7, [[1, 1, 3, 3], *square(6, 6, 8, 8)])), split="val")
    assert np.bincount(data.mask_of(5).ravel()).tolist() == [116, 0, 4]


def test_an_object_whose_box_has_no_area_either_is_dropped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flat = row(3, [[1, 5, 4, 5, 4, 5, 1, 5]]) | {"bbox": [1, 5, 3, 0]}  # as annotation 2206849 of COCO
    data = CocoMasks(root=data_set(tmp_path, flat, row(7, square(6, 6, 8, 8))), split="val")
    assert np.bincount(data.mask_of(5).ravel()).tolist() == [116, 0, 4]
    assert "dropped 1 objects whose box and outline have no area" in caplog.text


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[0, 0, float("nan"), 2, 4, 4]], "annotation 1 has the polygon"),
        ([[0, 0, 1e9, 2, 4, 4]], "annotation 1 has the polygon"),
        ({"size": list(SIZE), "counts": [5, 5]}, "malformed RLE: its runs add up to 10"),
        ({"size": list(SIZE), "counts": "zzz"}, "malformed RLE: its compressed runs do not fill 10x12"),
        ({"size": [12, 10], "counts": [0, 120]}, r"malformed RLE: its size \[12, 10\] is not the image's"),
        ([], "1 annotations have a box, but no 'segmentation': 1"),
        (None, "1 annotations have a box, but no 'segmentation': 1"),
        ([[]], "1 annotations have a box, but no 'segmentation': 1"),
        ([[0, 0, 5, 5]], "1 annotations have a box, but no 'segmentation': 1"),
        ([[0, 0, 5, 5, 0, 0]], "1 annotations have a box, but no 'segmentation': 1"),
        ({"size": list(SIZE), "counts": [120]}, "1 annotations have a box, but no 'segmentation': 1"),
    ],
)
@pytest.mark.parametrize("size", [SIZE, None])
def test_what_pycocotools_could_crash_on_is_refused(
    tmp_path: Path, segmentation: object, message: str, size: tuple[int, int] | None
) -> None:
    root = data_set(tmp_path, row(3, segmentation), size=size)
    with pytest.raises(ValueError, match=message):
        CocoMasks(root=root, split="val")


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    root = data_set(tmp_path, row(3, square(0, 0, 2, 2)), size=(20, 24))
    with pytest.raises(ValueError, match=r"a.png: the image is 12x10, but .* describes one of 24x20"):
        CocoMasks(root=root, split="val")


def test_a_damaged_image_can_be_left_out(tmp_path: Path) -> None:
    root = data_set(tmp_path, row(3, square(0, 0, 2, 2)))
    (root / "val" / "b.png").write_bytes(b"<html>")
    data = CocoMasks(root=root, split="val", bad_images="skip")
    assert (len(data), data.skipped_images) == (1, 1)
    with pytest.raises(LookupError, match="no image has the id 6"):
        data.path_of(6)


def test_real_masks_hold_what_the_annotations_say(shared: Path) -> None:
    root = shared / "data" / "coco_mini"
    class_map = {"airplane": "aeroplane", "couch": "sofa", "dining table": "diningtable"}
    class_map |= {"motorcycle": "motorbike", "potted plant": "pottedplant", "tv": "tvmonitor"}
    data = CocoMasks(root=root, split="val2017", class_names=VOC_MASK_CLASSES, class_map=class_map)
    content = json.loads((root / "annotations" / "instances_val2017.json").read_text())
    assert len(data) == len(content["images"])
    name_of = {entry["id"]: class_map.get(entry["name"], entry["name"]) for entry in content["categories"]}
    counts = np.zeros(256, np.int64)
    for image in content["images"]:
        mask = data.mask_of(image["id"])
        assert mask.shape == (image["height"], image["width"])
        counts += np.bincount(mask.ravel(), minlength=256)
        rows = [entry for entry in content["annotations"] if entry["image_id"] == image["id"]]
        named = {name_of[entry["category_id"]] for entry in rows} & set(VOC_MASK_CLASSES)
        shown = {VOC_MASK_CLASSES[label] for label in set(np.unique(mask).tolist()) - {0, 255}}
        assert shown <= named
    shares = counts / counts.sum()
    assert 0.5 < shares[0] < 0.9
    assert shares[VOC_MASK_CLASSES.index("person")] > 0.05
    assert 0 < shares[255] < 0.05
    assert not counts[21:255].any()


def test_every_real_outline_covers_the_pixels_that_pycocotools_gives_it(shared: Path) -> None:
    root = shared / "data" / "coco_mini"
    data = CocoMasks(root=root, split="val2017")
    content = json.loads((root / "annotations" / "instances_val2017.json").read_text())
    for image in content["images"][::10]:
        size = image["height"], image["width"]
        covered = np.zeros(size, bool)
        for entry in content["annotations"]:
            if entry["image_id"] == image["id"]:
                outline = coco_mask.frPyObjects(entry["segmentation"], *size)
                with warnings.catch_warnings():  # of numpy 2, on every call
                    warnings.simplefilter("ignore", DeprecationWarning)
                    covered |= coco_mask.decode(outline).reshape(*size, -1).any(axis=2)
        assert ((data.mask_of(image["id"]) > 0) == covered).all()


def test_the_config_lists_vocs_classes_and_maps_what_coco_calls_otherwise() -> None:
    config = yaml.safe_load((conf_folder() / "data" / "coco_voc_masks.yaml").read_text())
    assert tuple(config["class_names"]) == VOC_MASK_CLASSES
    assert tuple(map(tuple, config["palette"])) == voc_palette()
    assert set(config["class_map"].values()) <= set(VOC_MASK_CLASSES)


def test_cocos_stuff_is_another_json(tmp_path: Path) -> None:
    root = data_set(tmp_path, row(9, {"size": list(SIZE), "counts": [0, 120]}))
    (root / "annotations" / "instances_val.json").rename(root / "annotations" / "stuff_val.json")
    data = CocoMasks(root=root, split="val", annotations="annotations/stuff_{split}.json")
    assert (data.mask_of(5) == 3).all()


def test_runs_of_many_lengths_are_decoded_alike_by_both_readers() -> None:
    rng = np.random.default_rng(0)
    for number in range(200):
        size = int(rng.integers(1, 300)), int(rng.integers(1, 300))
        blobs = rng.random(size) < rng.choice([0.0, 0.02, 0.5, 1.0])
        counts = coco_mask.encode(np.asfortranarray(blobs.astype(np.uint8)))["counts"]
        runs = runs_of_valid(counts)
        assert runs.tolist() == decoded_runs(counts.decode()), number
        assert runs.sum() == blobs.size
        assert runs[1::2].sum() == blobs.sum()
    assert runs_of_valid(b"").tolist() == []
