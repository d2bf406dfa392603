from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mnv2dense.data.datasets.coco import CocoDetection
from mnv2dense.types import IGNORE_LABEL


def annotation(id_: int = 1, **changes: object) -> dict[str, Any]:
    row = {"id": id_, "image_id": 7, "category_id": 3, "bbox": [10, 5, 20, 10], "area": 150.5, "iscrowd": 0}
    return row | changes


def write(root: Path, rows: list[dict[str, Any]], **changes: object) -> Path:
    """Two images of 64x48, ids 7 and 9; two classes, ids 3 and 5."""
    content: dict[str, Any] = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 64, "height": 48} for i in (7, 9)],
        "categories": [{"id": 5, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": rows,
    } | changes
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "train2017").mkdir(exist_ok=True)
    for image in content["images"]:
        if image.get("file_name", "").strip():
            Image.new("RGB", (64, 48)).save(root / "train2017" / image["file_name"])
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    return root


def load(root: Path, rows: list[dict[str, Any]], **changes: object) -> CocoDetection:
    return CocoDetection(root=write(root, rows, **changes))


def test_boxes_become_corners_and_category_ids_labels(tmp_path: Path) -> None:
    data = load(tmp_path, [annotation(), annotation(2, category_id=5, bbox=[0, 0, 64, 48])])
    assert data.class_names == ("cat", "dog")
    assert data.category_ids == [3, 5]
    sample = data[0]
    assert sample.image.shape == (48, 64, 3)
    assert sample.boxes.tolist() == [[10, 5, 30, 15], [0, 0, 64, 48]]
    assert sample.boxes.dtype == np.float32
    assert sample.labels.tolist() == [0, 1]
    assert sample.labels.dtype == np.int64
    assert (sample.image_id, sample.mask, sample.path) == (7, None, data.path_of(7))


def test_a_image_without_annotations_stays_as_a_negative(tmp_path: Path) -> None:
    data = load(tmp_path, [annotation()])
    assert len(data) == 2
    assert data[1].boxes.shape == (0, 4)
    assert data[1].labels.shape == (0,)
    assert data[-1].image_id == 9
    with pytest.raises(IndexError):
        data[2]


def test_a_file_without_any_annotation_loads(tmp_path: Path) -> None:
    data = load(tmp_path, [])
    assert data[0].boxes.shape == (0, 4)
    assert data.coco_ground_truth()["annotations"] == []


def test_crowds_are_ignored_in_samples_and_stay_crowds_in_the_ground_truth(tmp_path: Path) -> None:
    runs = {"size": [48, 64], "counts": [0, 3072]}
    data = load(tmp_path, [annotation(iscrowd=1, segmentation=runs), annotation(2)])
    assert data[0].labels.tolist() == [IGNORE_LABEL, 0]
    truth = data.coco_ground_truth()
    assert [row["iscrowd"] for row in truth["annotations"]] == [1, 0]
    assert truth["annotations"][0]["area"] == 150.5


def test_category_ids_with_gaps_round_trip_through_the_ground_truth(tmp_path: Path) -> None:
    truth = load(tmp_path, [annotation(), annotation(2, category_id=5)]).coco_ground_truth()
    assert [category["id"] for category in truth["categories"]] == [3, 5]
    assert [row["category_id"] for row in truth["annotations"]] == [3, 5]
    assert [row["image_id"] for row in truth["annotations"]] == [7, 7]
    assert [row["bbox"] for row in truth["annotations"]] == [[10, 5, 20, 10]] * 2
    assert truth["images"][1] == {"id": 9, "file_name": "9.jpg", "height": 48, "width": 64}


def test_boxes_without_area_in_the_image_are_dropped_others_clipped_all_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    boxes = [
        [10, 5, 0, 10],  # no width
        [30, 5, -20, 10],  # negative width
        [64, 0, 10, 10],  # touches the right side from outside
        [-30, -30, 10, 10],  # outside
        [-5, 40, 15, 20],  # sticks out on two sides
        [54, 38, 10.5, 10.5],  # half a pixel over: an annotator's rounding
    ]
    with caplog.at_level(logging.WARNING):
        data = load(tmp_path, [annotation(i + 1, bbox=box) for i, box in enumerate(boxes)])
    assert (data.dropped_boxes, data.clipped_boxes) == (4, 1)
    assert data[0].boxes.tolist() == [[0, 40, 10, 48], [54, 38, 64, 48]]
    assert len(caplog.records) == 1
    assert "dropped 4 of 6 boxes" in caplog.text
    # scoring sees the boxes that pycocotools would read from the file
    assert [row["bbox"] for row in data.coco_ground_truth()["annotations"]] == boxes[4:]
    assert [row["id"] for row in data.coco_ground_truth()["annotations"]] == [5, 6]


@pytest.mark.parametrize(
    "bad",
    [
        [float("nan"), 5, 20, 10],
        [10, float("inf"), 20, 10],
        [10, 5, 1e9, 10],
        [10, 5, 20],
        [10, 5, None, 10],
        ["ten", 5, 20, 10],
        None,
        {},
    ],
)
def test_a_box_that_is_not_four_sane_numbers_is_refused_naming_the_annotation(bad: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"instances_train2017\.json: annotation 42 has bbox .*four numbers"):
        load(tmp_path, [annotation(), annotation(42, bbox=bad)])


@pytest.mark.parametrize(
    "bad",
    [
        [1, 1, 9, 1, float("nan"), 9],
        [1, 1, 9, 1, float("-inf"), 9],
        [1, 1, 9, 1, 1e9, 9],
        [1, 1, 9, 1, 9],
        "ab",
        12,
    ],
)
def test_a_polygon_of_other_than_sane_pairs_is_refused_naming_the_annotation(bad: object, tmp_path: Path) -> None:
    good = annotation(segmentation=[[1, 1, 9, 1, 9, 9]])
    with pytest.raises(ValueError, match="annotation 42 has the polygon"):
        load(tmp_path, [good, annotation(42, segmentation=[[1, 1, 9, 1, 9, 9], bad])])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"size": [48, 64], "counts": [10, 20]}, "runs add up to 30, not to 48x64 = 3072"),
        ({"size": [48, 64], "counts": [-10, 3082]}, "neither a string nor a list of run lengths"),
        ({"size": [48, 64], "counts": None}, "neither a string"),
        ({"size": [64, 48], "counts": [3072]}, r"size \[64, 48\] is not the image's \[48, 64\]"),
        ({"size": [48], "counts": [48]}, "is not .height, width."),
        ({"counts": [48]}, "size None"),
        ({"size": [48, 64], "counts": "PQ"}, "compressed runs do not fill"),
        ({"size": [48, 64], "counts": "\u00e9"}, "compressed runs do not fill"),
        ({"size": [48, 64], "counts": "o" * 40}, "compressed runs do not fill"),
    ],
)
def test_a_malformed_rle_is_refused_naming_the_annotation(bad: object, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"annotation 42 has a malformed RLE: .*{reason}"):
        load(tmp_path, [annotation(42, iscrowd=1, segmentation=bad)])


def test_a_compressed_rle_of_pycocotools_is_accepted(tmp_path: Path) -> None:
    from pycocotools import mask

    image = (np.random.default_rng(0).random((48, 64)) < 0.3).astype(np.uint8)
    runs = mask.encode(np.asfortranarray(image))
    runs = {"size": list(runs["size"]), "counts": runs["counts"].decode()}
    assert len(load(tmp_path, [annotation(iscrowd=1, segmentation=runs)])) == 2


@pytest.mark.parametrize("area", [float("nan"), float("inf"), "large"])
def test_an_area_that_is_no_number_is_refused(area: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="annotation 42 has area"):
        load(tmp_path, [annotation(42, area=area)])


def test_a_missing_area_is_width_times_height(tmp_path: Path) -> None:
    row = annotation()
    del row["area"], row["iscrowd"]
    (truth,) = load(tmp_path, [row]).coco_ground_truth()["annotations"]
    assert (truth["area"], truth["iscrowd"]) == (200, 0)


def test_duplicate_annotation_ids_are_listed(tmp_path: Path) -> None:
    rows = [annotation(i) for i in (4, 4, 6, 8, 8, 8)]
    with pytest.raises(ValueError, match=r"annotation ids .* more than once: 4 \(2 times\), 8 \(3 times\)\."):
        load(tmp_path, rows)


def test_annotation_id_0_is_numbered_anew_for_scoring(tmp_path: Path) -> None:
    truth = load(tmp_path, [annotation(0), annotation(1)]).coco_ground_truth()
    assert sorted(row["id"] for row in truth["annotations"]) == [1, 2]


def test_duplicate_image_and_category_ids_are_refused(tmp_path: Path) -> None:
    images = [{"id": 7, "file_name": name, "width": 64, "height": 48} for name in ("a.jpg", "b.jpg")]
    with pytest.raises(ValueError, match=r"image ids .* 7 \(2 times\)"):
        load(tmp_path, [], images=images)
    with pytest.raises(ValueError, match=r"category ids .* 1 \(2 times\)"):
        load(tmp_path, [], categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}])


def test_annotations_of_unknown_images_or_categories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"1 annotations name .*'images'.*annotation 2 has image_id 8"):
        load(tmp_path, [annotation(), annotation(2, image_id=8)])
    with pytest.raises(ValueError, match="'categories' does not list: annotation 2 has category_id 4"):
        load(tmp_path, [annotation(), annotation(2, category_id=4)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": [{"id": "7", "file_name": "7.jpg"}]}, r"images\[0\] needs an integer 'id'"),
        ({"images": [{"id": 7}]}, "a 'file_name'"),
        ({"images": [{"id": 7, "file_name": "7.jpg", "width": 0, "height": 4}]}, "width 0 and height 4"),
        ({"categories": []}, "'categories' is empty"),
        ({"categories": [{"id": 1}]}, "needs an integer 'id' and a 'name'"),
        ({"annotations": [{"id": 1}]}, r"annotations\[0\] needs integer"),
        ({"annotations": None}, "no list of objects under 'annotations'"),
        ({"annotations": [annotation(iscrowd="perhaps")]}, "annotation 1: iscrowd 'perhaps' is neither yes .* nor no"),
        ({"images": [{"id": 2**70, "file_name": "7.jpg"}]}, r"images\[0\] needs an integer 'id'.* 64 bits at most"),
        ({"images": [{"id": 7, "file_name": " "}]}, r"images\[0\] needs .* a 'file_name'"),
        ({"categories": [{"id": 2**64, "name": "cat"}]}, "needs an integer 'id' and a 'name'"),
        ({"categories": [{"id": 1, "name": ""}]}, "in 'categories', a class has the empty name"),
        ({"categories": [{"id": 1, "name": "a\tb"}]}, r"the class name 'a\\tb' holds '\\t'"),
        ({"categories": [{"id": 1, "name": "\ud800"}]}, r"holds '\\ud800', which can be neither drawn nor written"),
        ({"annotations": [annotation(2**64)]}, r"annotations\[0\] needs integer"),
        ({"annotations": [annotation(), annotation(2, bbox=["1", "2", "3", "4"])]}, "annotation 2 has bbox"),
        ({"annotations": [annotation(), annotation(2, bbox=[True, 2, 3, 4])]}, "annotation 2 has bbox"),
        ({"annotations": [annotation(bbox="1234")]}, "annotation 1 has bbox '1234'"),
        ({"annotations": [annotation(area=[12.5])]}, r"annotation 1 has area \[12.5\]"),
        ({"annotations": [annotation(area=10**400)]}, "annotation 1 has area 1000"),
        ({"annotations": [annotation(area="12")]}, "annotation 1 has area '12'"),
        ({"annotations": [annotation(segmentation=[["1", "2", "3", "4", "5", "6"]])]}, "annotation 1 has the polygon"),
        ({"annotations": [annotation(segmentation=[[10**400, 2, 3, 4, 5, 6]])]}, "annotation 1 has the polygon"),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused_by_place(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load(tmp_path, [], **changes)


def test_category_names_that_repeat_carry_their_id(tmp_path: Path) -> None:
    categories = [{"id": 0, "name": "cell"}, {"id": 1, "name": "cell"}, {"id": 2, "name": "plate"}]
    assert load(tmp_path, [], categories=categories).class_names == ("cell (0)", "cell (1)", "plate")


def test_a_size_the_file_lacks_is_read_from_the_image(tmp_path: Path) -> None:
    data = load(tmp_path, [annotation(bbox=[0, 0, 99, 99])], images=[{"id": 7, "file_name": "7.jpg"}])
    assert data[0].boxes.tolist() == [[0, 0, 64, 48]]


def test_missing_images_are_one_report(tmp_path: Path) -> None:
    for image in (write(tmp_path, []) / "train2017").iterdir():
        image.unlink()
    with pytest.raises(FileNotFoundError, match=r"2 of 2 images are missing: 7\.jpg, 9\.jpg \(looked in .*train2017\)"):
        CocoDetection(root=tmp_path)


def test_a_missing_json_lists_those_there_are(tmp_path: Path) -> None:
    write(tmp_path, [])
    with pytest.raises(FileNotFoundError, match=r"val2017\.json: no such.*annotations/instances_train2017\.json"):
        CocoDetection(root=tmp_path, split="val2017")
    with pytest.raises(FileNotFoundError, match=r"root=.*nowhere: no such folder"):
        CocoDetection(root=tmp_path / "nowhere")


def test_a_broken_json_is_named(tmp_path: Path) -> None:
    write(tmp_path, [])
    file = tmp_path / "annotations" / "instances_train2017.json"
    file.write_text(file.read_text()[:100])
    with pytest.raises(ValueError, match=r"instances_train2017\.json: not valid json .*line 1"):
        CocoDetection(root=tmp_path)


def test_bad_images_are_skipped_and_counted_when_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, [annotation(), annotation(2, image_id=9)])
    (tmp_path / "train2017" / "7.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"7\.jpg: empty file"):
        CocoDetection(root=tmp_path)[0]
    data = CocoDetection(root=tmp_path, bad_images="skip")
    assert (len(data), data.skipped_images, data[0].image_id) == (1, 1, 9)
    assert [row["id"] for row in data.coco_ground_truth()["annotations"]] == [2]
    assert "skipped 1 of 2 images: 7.jpg" in caplog.text
    (tmp_path / "train2017" / "9.jpg").unlink()
    with pytest.raises(ValueError, match="no image to use, all 2 are missing or damaged"):
        CocoDetection(root=tmp_path, bad_images="skip")
    with pytest.raises(ValueError, match="bad_images='ignore' is neither"):
        CocoDetection(root=tmp_path, bad_images="ignore")  # type: ignore[arg-type]


def test_limit_keeps_the_first_images_and_their_truth(tmp_path: Path) -> None:
    data = CocoDetection(root=write(tmp_path, [annotation(1, image_id=9), annotation(2)]), limit=1)
    assert len(data) == 1
    assert [row["id"] for row in data.coco_ground_truth()["annotations"]] == [2]
    with pytest.raises(ValueError, match="limit=0 leaves no image"):
        CocoDetection(root=tmp_path, limit=0)
    with pytest.raises(LookupError, match="no image has the id 9"):
        data.path_of(9)


def save_lying_down(path: Path) -> None:
    """Stored 64x48, upright 48x64 (EXIF orientation 6), white where the upright box [8, 40, 24, 56] is."""
    upright = np.zeros((64, 48), np.uint8)
    upright[40:56, 8:24] = 255
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.rot90(upright)).save(path, exif=exif, quality=95)


@pytest.mark.parametrize("size", [{"width": 48, "height": 64}, {"width": 64, "height": 48}, {}])
def test_boxes_match_the_upright_image_however_the_size_was_recorded(size: dict[str, int], tmp_path: Path) -> None:
    image = {"id": 7, "file_name": "7.jpg"} | size
    write(tmp_path, [annotation(bbox=[8, 40, 16, 16])], images=[image])
    save_lying_down(tmp_path / "train2017" / "7.jpg")
    sample = CocoDetection(root=tmp_path)[0]
    assert sample.image.shape == (64, 48, 3)
    assert sample.boxes.tolist() == [[8, 40, 24, 56]]  # not cut at 48, the stored height
    assert sample.image[41:55, 9:23].min() > 240
    assert sample.image[:36].max() < 15


def test_boxes_that_fit_only_the_stored_image_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [annotation(bbox=[40, 8, 20, 16])])
    save_lying_down(tmp_path / "train2017" / "7.jpg")
    with pytest.raises(ValueError, match=r"7\.jpg: upright .* is 48x64, .*fit only the stored 64x48.*exiftool"):
        CocoDetection(root=tmp_path)[0]


@pytest.mark.parametrize("box", [[0, 0, 9, 9], [90, 0, 20, 20]])
def test_another_size_than_the_files_is_refused_naming_both(box: list[int], tmp_path: Path) -> None:
    image = {"id": 7, "file_name": "7.jpg", "width": 100, "height": 80}
    write(tmp_path, [annotation(bbox=box)], images=[image])
    with pytest.raises(ValueError, match=r"7\.jpg: the image is 64x48, but .* describes one of 100x80"):
        CocoDetection(root=tmp_path)[0]


def test_images_may_lie_elsewhere_and_have_any_name(tmp_path: Path) -> None:
    root = tmp_path / "Räume mit Leerzeichen"
    image = {"id": 1, "file_name": "猫 1.jpg", "width": 64, "height": 48}
    write(root, [], images=[image])
    (root / "train2017").rename(root / "images")
    (root / "annotations" / "instances_train2017.json").rename(root / "mine.json")
    data = CocoDetection(root=root, annotations="mine.json", images="images")
    assert data[0].path == root / "images" / "猫 1.jpg"


def test_the_real_thing_loads_whole(shared: Path) -> None:
    train = CocoDetection(root=shared / "data" / "coco_mini")
    val = CocoDetection(root=shared / "data" / "coco_mini", split="val2017")
    assert (len(train), len(val)) == (209, 102)
    assert train.class_names == val.class_names
    assert (train.class_names[0], train.class_names[79]) == ("person", "toothbrush")
    assert (train.category_ids[0], train.category_ids[11], train.category_ids[79]) == (1, 13, 90)
    truth = train.coco_ground_truth()
    assert len(truth["annotations"]) == 1899
    assert sum(row["iscrowd"] for row in truth["annotations"]) == 18
    labels = np.concatenate([sample.labels for sample in train])
    assert len(labels) == 1899
    assert (labels == IGNORE_LABEL).sum() == 18


def test_the_ground_truth_is_what_pycocotools_reads_from_the_file(shared: Path) -> None:
    root = shared / "data" / "coco_mini"
    truth = CocoDetection(root=root, split="val2017").coco_ground_truth()
    original = json.loads((root / "annotations" / "instances_val2017.json").read_text())
    keys = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
    expected = {row["id"]: [row[key] for key in keys] for row in original["annotations"]}
    assert {row["id"]: [row[key] for key in keys] for row in truth["annotations"]} == expected


def test_words_say_whether_an_annotation_is_a_crowd(tmp_path: Path) -> None:
    said = [0, "0", False, None, "no", 1, "1", True, "yes", 1.0]
    data = load(tmp_path, [annotation(number, iscrowd=value) for number, value in enumerate(said, start=1)])
    assert [row["iscrowd"] for row in data.coco_ground_truth()["annotations"]] == [0] * 5 + [1] * 5
    assert (sum(data.box_counts), data.ignored_count) == (5, 5)


def test_names_are_taken_without_the_blanks_and_line_breaks_around_them(tmp_path: Path) -> None:
    assert load(tmp_path, [], categories=[{"id": 1, "name": " cat\n"}]).class_names == ("cat",)


def test_boxes_that_are_shares_of_the_image_are_refused(tmp_path: Path) -> None:
    shares = [annotation(number, bbox=[0.3, 0.25, 0.4, 0.37]) for number in (1, 2)]
    with pytest.raises(ValueError, match=r"the coordinates of all 2 boxes lie between 0 and 1, such as \[0.3, 0.25"):
        load(tmp_path, shares)
    assert load(tmp_path, [*shares, annotation(3)]).dropped_boxes == 0
    assert sum(load(tmp_path, [annotation(bbox=[0, 0, 1, 1])]).box_counts) == 1  # one pixel


def test_nesting_without_end_and_other_encodings_are_named(tmp_path: Path) -> None:
    file = write(tmp_path, []) / "annotations" / "instances_train2017.json"
    file.write_text("[" * 200_000)
    with pytest.raises(ValueError, match=r"instances_train2017.json: its values are nested too deep"):
        CocoDetection(root=tmp_path)
    file.write_bytes('{"images": "\u732b\u72d7\u72d7"}'.encode("gbk"))
    with pytest.raises(
        ValueError, match=r"instances_train2017.json: not UTF-8 text; it looks like GBK. Save it as UTF"
    ):
        CocoDetection(root=tmp_path)


def test_a_key_that_is_there_twice_loses_nothing_without_a_word(tmp_path: Path) -> None:
    """Of two lists of images, as of files that were joined by hand, the last would be taken alone."""
    file = write(tmp_path, []) / "annotations" / "instances_train2017.json"
    file.write_text('{"images": [], ' + file.read_text()[1:])
    with pytest.raises(ValueError, match=r"instances_train2017.json: not valid json \(the key 'images' is there twice"):
        CocoDetection(root=tmp_path)


def test_a_folder_and_a_name_that_no_file_can_have_are_missing_images(tmp_path: Path) -> None:
    """Training began with these, and ended with its first batch, or in the system's words for a long name."""
    write(tmp_path, [])
    file, folder = tmp_path / "annotations" / "instances_train2017.json", tmp_path / "train2017"
    (folder / "below.jpg").mkdir()
    (folder / "link.jpg").symlink_to("nowhere")
    content = json.loads(file.read_text())
    for name in (".", "below.jpg", "link.jpg", "x" * 5000):
        content["images"][0]["file_name"] = name
        file.write_text(json.dumps(content))
        with pytest.raises(FileNotFoundError, match=r"instances_train2017.json: 1 of \d images are missing") as caught:
            CocoDetection(root=tmp_path)
        assert len(str(caught.value)) < 1000


def beside_images(root: Path, split: str, class_name: str = "cat") -> None:
    """Roboflow's layout: two images, 7 and 9, and their json in one folder."""
    write(root, [annotation()], categories=[{"id": 3, "name": class_name}])
    (root / "train2017").rename(root / split)
    (root / "annotations" / "instances_train2017.json").rename(root / split / "_annotations.coco.json")


def test_a_json_beside_its_images_is_found_by_the_split(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        beside_images(tmp_path, split)
    data = CocoDetection(root=tmp_path, split="valid")
    assert data.source == tmp_path / "valid" / "_annotations.coco.json"
    assert data.paths == [tmp_path / "valid" / name for name in ("7.jpg", "9.jpg")]
    with pytest.raises(FileNotFoundError, match=r"Splits there are: train, valid; choose by split="):
        CocoDetection(root=tmp_path)


def test_a_json_named_by_its_path_keeps_its_own_images(tmp_path: Path) -> None:
    beside_images(tmp_path, "train", "cat")
    beside_images(tmp_path, "valid", "dog")  # images of the same names: taking these would be wrong without a word
    data = CocoDetection(root=tmp_path, split="valid", annotations="train/_annotations.coco.json")
    assert (data.class_names, data.paths[0]) == (("cat",), tmp_path / "train" / "7.jpg")
    both = CocoDetection(root=tmp_path, split="valid", annotations="{split}/_annotations.coco.json")
    assert (both.class_names, both.paths[0]) == (("dog",), tmp_path / "valid" / "7.jpg")


def test_other_braces_than_the_splits_are_letters(tmp_path: Path) -> None:
    write(tmp_path, [annotation()])
    (tmp_path / "annotations" / "instances_train2017.json").rename(tmp_path / "{x} train2017.json")
    (tmp_path / "train2017").rename(tmp_path / "a{}")
    data = CocoDetection(root=tmp_path, annotations="{x} {split}.json", images="a{}")
    assert data.paths[0] == tmp_path / "a{}" / "7.jpg"
