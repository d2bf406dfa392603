"""What stands in the files, as the tools of each format want it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from PIL import Image

from mnv2dense.data.datasets import CocoDetection, CocoMasks, MaskFolder, VocDetection, VocMasks, YoloDetection
from mnv2dense.data.shapes import Shapes
from mnv2dense.data.splits import SplitPlan
from mnv2dense.workflows import Conversion, convert


def coco(root: Path, boxes: list[tuple[list[float], int]]) -> CocoDetection:
    """One image of 100 x 50 with these boxes and crowds, and an empty one; classes 4 (cat) and 9 (two words)."""
    (root / "train").mkdir(parents=True)
    (root / "annotations").mkdir()
    for name in ("a b.jpg", "empty.jpg"):
        Image.new("RGB", (100, 50)).save(root / "train" / name)
    content = {
        "images": [{"id": 31, "file_name": "a b.jpg"}, {"id": 30, "file_name": "empty.jpg"}],
        "categories": [{"id": 4, "name": "cat"}, {"id": 9, "name": "two words"}],
        "annotations": [
            {"id": row, "image_id": 31, "category_id": 9, "bbox": box, "iscrowd": crowd, "area": box[2] * box[3]}
            for row, (box, crowd) in enumerate(boxes, start=1)
        ],
    }
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    return CocoDetection(root=root, split="train")


def said(done: Conversion) -> dict[str, int]:
    return {note.what: note.count for note in done.notes}


def test_yolo_is_laid_out_as_ultralytics_and_cvat_read_it(tmp_path: Path) -> None:
    data = coco(tmp_path / "coco", [([10, 20, 20, 10], 0), ([90, 40, 20, 20], 0), ([0, 0, 50, 50], 1)])
    done = convert({"train": data}, tmp_path / "out", to="yolo")
    out = tmp_path / "out"
    assert yaml.safe_load((out / "data.yaml").read_text()) == {
        "train": "images/train",
        "names": {0: "cat", 1: "two words"},
    }
    # The second is clipped to 90..100 x 40..50: Ultralytics drops images with boxes that stick out.
    assert (out / "labels/train/a b.txt").read_text() == "1 0.2 0.5 0.2 0.2\n1 0.95 0.9 0.1 0.2\n"
    assert (out / "labels/train/empty.txt").read_text() == ""
    assert (out / "ignored/train/a b.txt").read_text() == "1 0.25 0.5 0.5 1\n"
    assert not (out / "ignored/train/empty.txt").exists()
    assert said(done) == {"outside": 1, "crowds": 1, "ids of classes": 2, "ids of images": 2}
    assert done.read_by == f"data=yolo data.root={out} data.val=null"


def test_yolo_without_pictures_has_lists_of_names_for_cvat(tmp_path: Path) -> None:
    data = coco(tmp_path / "coco", [([10, 20, 20, 10], 0)])
    done = convert({"train": data}, tmp_path / "out", to="yolo", images="none")
    assert done.read_by == ""
    assert yaml.safe_load((tmp_path / "out/data.yaml").read_text())["train"] == "train.txt"
    assert (tmp_path / "out/train.txt").read_text() == "images/train/a b.jpg\nimages/train/empty.jpg\n"
    assert not (tmp_path / "out/images").exists()


def test_voc_has_whole_numbers_from_one_on_and_difficult_crowds(tmp_path: Path) -> None:
    data = coco(tmp_path / "coco", [([9.6, 20.4, 20, 10], 0), ([0, 0, 100, 50], 1), ([30.1, 7, 0.3, 5], 0)])
    done = convert({"train": data}, tmp_path / "out", to="voc")
    root = ElementTree.parse(tmp_path / "out/Annotations/a b.xml").getroot()
    assert root.findtext("filename") == "a b.jpg"
    assert [root.findtext(f"size/{side}") for side in ("width", "height", "depth")] == ["100", "50", "3"]
    boxes = [[part.text for part in each.findall("bndbox/*")] for each in root.findall("object")]
    # 9.6..29.6 becomes 10..30, in VOC's counting 11..30. The third would have no width, and keeps its decimals.
    assert boxes == [["11", "21", "30", "30"], ["1", "1", "100", "50"], ["31.1", "8", "30.4", "12"]]
    assert [each.findtext("difficult") for each in root.findall("object")] == ["0", "1", "0"]
    assert [each.findtext("name") for each in root.findall("object")] == ["two words"] * 3
    assert (tmp_path / "out/ImageSets/Main/train.txt").read_text() == "a b\nempty\n"
    assert (tmp_path / "out/labelmap.txt").read_text() == "cat:::\ntwo words:::\n"
    assert said(done) == {
        **{"sub-pixel corners": 1, "thin boxes": 1, "crowds": 1, "blanks in names": 1},
        **{"ids of classes": 2, "ids of images": 2},
    }
    exact = convert({"train": data}, tmp_path / "exact", to="voc", corners="exact")
    root = ElementTree.parse(tmp_path / "exact/Annotations/a b.xml").getroot()
    assert [part.text for part in root.findall("object/bndbox/*")][:4] == ["10.6", "21.4", "29.6", "30.4"]
    assert "sub-pixel corners" not in said(exact)


def test_the_report_says_what_was_read_and_what_is_not_as_it_was(tmp_path: Path) -> None:
    data = coco(tmp_path / "coco", [([10, 20, 20, 10], 1)])
    done = convert({"train": data}, tmp_path / "out", to="voc")
    report: Any = json.loads((tmp_path / "out/convert.json").read_text())
    assert report["from"] == {"train": str(data.source)}
    assert (report["to"], report["pictures"], report["images"]) == ("voc", "copy", {"train": 2})
    assert report["class_names"] == ["cat", "two words"]
    assert report["read_by"] == done.read_by
    assert {"what": "crowds", "count": 1, "said": "regions to ignore are marked difficult"} in report["not_as_it_was"]


def test_voc_with_sub_folders_of_any_kind_of_image_is_read_again(tmp_path: Path) -> None:
    root = tmp_path / "coco"
    data = coco(root, [([10, 20, 20, 10], 0)])
    (root / "train/sub").mkdir()
    (root / "train/a b.jpg").rename(root / "train/sub/a.png")
    file = root / "annotations/instances_train.json"
    file.write_text(file.read_text().replace("a b.jpg", "sub/a.png"))
    data = CocoDetection(root=root, split="train")
    convert({"train": data}, tmp_path / "out", to="voc")
    again = VocDetection(root=tmp_path / "out", split="train")
    assert again.path_of(31) == tmp_path / "out/JPEGImages/sub/a.png"


def test_masks_keep_every_pixel_and_the_colours_of_their_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for number in range(3):
            for kind, image in (
                ("images", Image.new("RGB", (9, 7))),
                ("masks", Image.fromarray(rng.choice(np.array([0, 1, 2, 255], np.uint8), (7, 9)))),
            ):
                folder = tmp_path / "masks" / kind / split
                folder.mkdir(parents=True, exist_ok=True)
                image.save(folder / f"{number}.png")
    options: Any = {"class_names": ["sky", "wide road", "car"], "palette": [[0, 0, 255], [128, 128, 128], [255, 0, 0]]}
    data = {split: MaskFolder(root=tmp_path / "masks", split=split, **options) for split in ("train", "val")}
    for to in ("voc_masks", "mask_folder"):
        done = convert(data, tmp_path / to, to=to)
        assert done.read_by.endswith("""'data.class_names=[sky,"wide road",car]'""")
    for split, before in data.items():
        names = before.class_names
        voc = VocMasks(root=tmp_path / "voc_masks", split=split, class_names=names)
        plain = MaskFolder(root=tmp_path / "mask_folder", split=split, class_names=names)
        for index, image_id in enumerate(before.image_ids):
            for after in (voc, plain):
                np.testing.assert_array_equal(after.mask_of(after.image_ids[index]), before.mask_of(image_id))
    with Image.open(tmp_path / "voc_masks/SegmentationClass/0.png") as mask:
        assert mask.mode == "P"
        assert mask.getpalette()[:9] == [0, 0, 255, 128, 128, 128, 255, 0, 0]  # type: ignore[index]  # it has one
    # Both splits have images of these names, and VOC has one folder.
    assert (tmp_path / "voc_masks/ImageSets/Segmentation/val.txt").read_text() == "0_2\n1_2\n2_2\n"
    assert (tmp_path / "voc_masks/labelmap.txt").read_text().splitlines()[1] == "wide road:128,128,128::"


def test_outlines_of_coco_become_masks(shared: Path, tmp_path: Path) -> None:
    before = CocoMasks(root=shared / "data/coco_mini", split="val2017", limit=5)
    convert({"val": before}, tmp_path / "out", to="mask_folder", images="link")
    after = MaskFolder(root=tmp_path / "out", split="val", class_names=before.class_names)
    for image_id, path in zip(after.image_ids, after.paths, strict=True):
        np.testing.assert_array_equal(after.mask_of(image_id), before.mask_of(int(path.stem)))


def test_an_image_turned_by_its_exif_tag_has_the_shares_of_the_upright_one(tmp_path: Path) -> None:
    root = tmp_path / "coco"
    coco(root, [([10, 20, 20, 10], 0)])
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn: 100 x 50 in the file, 50 x 100 upright
    Image.new("RGB", (100, 50)).save(root / "train/a b.jpg", exif=exif)
    convert({"train": CocoDetection(root=root, split="train")}, tmp_path / "out", to="yolo")
    assert (tmp_path / "out/labels/train/a b.txt").read_text() == "1 0.4 0.25 0.4 0.1\n"
    assert YoloDetection(root=tmp_path / "out").objects.boxes.tolist() == [[10, 20, 20, 10]]


def test_drawn_shapes_are_converted_as_any_data(tmp_path: Path) -> None:
    data = Shapes(split="val", root=tmp_path / "drawn", train_images=2, val_images=3)
    convert({"val": data}, tmp_path / "out", to="voc")
    assert VocDetection(root=tmp_path / "out", split="val").box_counts == data.box_counts


def test_splits_of_coco_that_use_the_same_ids_keep_every_field_and_every_class(tmp_path: Path) -> None:
    data = {}
    for split, cat in (("train", 4), ("val", 5)):  # each file has numbered its classes by itself
        root = tmp_path / split
        coco(root, [([10, 20, 20, 10], 0), ([1, 2, 3, 4], 0)])
        file = root / "annotations/instances_train.json"
        content = json.loads(file.read_text())
        content["categories"] = [{"id": cat, "name": "cat"}, {"id": cat + 7, "name": "two words"}]
        for annotation, label in zip(content["annotations"], (0, 1), strict=True):
            annotation |= {"category_id": cat + 7 * label, "segmentation": [[1, 2, 3, 2, 3, label]], "seen": split}
        file.write_text(json.dumps(content))
        data[split] = CocoDetection(root=root, split="train")
    convert(data, tmp_path / "out", to="coco", plan=SplitPlan(val=0.5, by="random"))
    rows = []
    for split in ("train", "val"):
        content = json.loads((tmp_path / f"out/annotations/instances_{split}.json").read_text())
        names = {category["id"]: category["name"] for category in content["categories"]}
        known = {image["id"] for image in content["images"]}
        for row in content["annotations"]:
            assert row["image_id"] in known
            rows.append((row["seen"], names[row["category_id"]], row["segmentation"][0][-1], row["bbox"]))
    first, second = [10, 20, 20, 10], [1, 2, 3, 4]
    assert sorted(rows) == [
        *(("train", "cat", 0, first), ("train", "two words", 1, second)),
        *(("val", "cat", 0, first), ("val", "two words", 1, second)),
    ]


def test_replacing_the_folder_that_is_read_is_refused(tmp_path: Path) -> None:
    data = coco(tmp_path / "coco", [([10, 20, 20, 10], 0)])
    convert({"train": data}, tmp_path / "out", to="yolo")
    read = YoloDetection(root=tmp_path / "out")
    with pytest.raises(ValueError, match="the data that is read lies in it"):
        convert({"train": read}, tmp_path / "out", to="coco", overwrite=True)
    assert YoloDetection(root=tmp_path / "out").image_ids == read.image_ids


def test_replacing_labels_that_are_read_is_refused_wherever_their_pictures_lie(tmp_path: Path) -> None:
    first = coco(tmp_path / "coco", [([10, 20, 20, 10], 0)])
    out = tmp_path / "out"
    convert({"train": first}, out, to="coco", images="none")
    read = CocoDetection(root=out, split="train", images=tmp_path / "coco/train")
    with pytest.raises(ValueError, match="the data that is read lies in it"):
        convert({"train": read}, out, to="yolo", images="none", overwrite=True)
    assert (out / "annotations/instances_train.json").is_file()
