from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnv2dense.data.datasets.yolo import YoloDetection


def write(
    root: Path, labels: dict[str, str | None], images: str = "images/train", folder: str = "labels/train"
) -> Path:
    """Pictures of 64x48, stem -> label lines or no label file; classes cat, dog."""
    for name in (images, folder):
        (root / name).mkdir(parents=True, exist_ok=True)
    for stem, lines in labels.items():
        (root / images / stem).parent.mkdir(parents=True, exist_ok=True)
        (root / folder / stem).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48)).save(root / images / f"{stem}.jpg")
        if lines is not None:
            (root / folder / f"{stem}.txt").write_text(lines)
    (root / "data.yaml").write_text("names: [cat, dog]\n")
    return root


def test_shares_of_the_image_become_pixel_corners(tmp_path: Path) -> None:
    sample = YoloDetection(root=write(tmp_path, {"a": "1 0.5 0.5 0.25 0.5\n\n0 0.5 0.5 1 1\n"}))[0]
    assert sample.boxes.tolist() == [[24, 12, 40, 36], [0, 0, 64, 48]]
    assert sample.labels.tolist() == [1, 0]
    assert (sample.boxes.dtype, sample.labels.dtype, sample.image_id) == (np.float32, np.int64, 1)


def test_a_polygon_line_gives_its_bounding_box(tmp_path: Path) -> None:
    sample = YoloDetection(root=write(tmp_path, {"a": "0 0.25 0.5 0.5 0.25 0.75 0.75"}))[0]
    assert sample.boxes.tolist() == [[16, 12, 48, 36]]


def test_a_missing_or_empty_label_file_is_a_negative(tmp_path: Path) -> None:
    data = YoloDetection(root=write(tmp_path, {"a": None, "b": "", "c": "0 0.5 0.5 0.5 0.5"}))
    assert [len(sample.boxes) for sample in data] == [0, 0, 1]


def test_labels_for_no_image_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"labels/train: no label file for any of 1 pictures.*looked for a\.txt"):
        YoloDetection(root=write(tmp_path, {"a": None}))


def test_the_ground_truth_has_pixels_and_the_formats_own_ids(tmp_path: Path) -> None:
    truth = YoloDetection(root=write(tmp_path, {"000012": "1 0.5 0.5 0.25 0.5"})).coco_ground_truth()
    assert truth["annotations"] == [
        {"id": 1, "image_id": 12, "category_id": 1, "bbox": [24, 12, 16, 24], "area": 384, "iscrowd": 0}
    ]
    assert truth["categories"] == [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0.5 0.5 0.5 0.5", r"class 2 is not among the data set's 0\.\.1"),
        ("-1 0.5 0.5 0.5 0.5", "class -1 is not among"),
        ("0.5 0.5 0.5 0.5 0.5", "class 0.5 is not among"),
        ("nan 0.5 0.5 0.5 0.5", "class nan is not among"),
        ("cat 0.5 0.5 0.5 0.5", "could not convert string to float: 'cat'"),
        ("0 0.5 0.5 0.5", "3 values after the class"),
        ("0 0.5 0.5 0.5 0.5 0.9", "5 values after the class"),
        ("0 32 24 16 16", "values are shares of the picture"),
        ("0 nan 0.5 0.5 0.5", "values are shares of the picture"),
        ("0 inf 0.5 0.5 0.5", "values are shares of the picture"),
    ],
)
def test_a_bad_line_is_refused_naming_file_and_line(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"a\.txt, line 2: {message}.*; the line is '{line}'"):
        YoloDetection(root=write(tmp_path, {"a": f"0 0.5 0.5 0.5 0.5\n{line}\n"}))


def test_boxes_without_area_are_dropped_and_others_clipped_and_counted(tmp_path: Path) -> None:
    data = YoloDetection(root=write(tmp_path, {"a": "0 0.5 0.5 0 0.5\n0 1.5 0.5 0.5 0.5\n0 1 1 0.5 0.5"}))
    assert (data.dropped_boxes, data.clipped_boxes) == (2, 1)
    assert data[0].boxes.tolist() == [[48, 36, 64, 48]]


@pytest.mark.parametrize("names", ["names: {1: dog, 0: cat}", "names:\n- cat\n- dog"])
def test_names_come_from_the_yaml_as_list_or_dict(names: str, tmp_path: Path) -> None:
    write(tmp_path, {"a": ""})
    (tmp_path / "data.yaml").write_text(f"train: ../elsewhere\n{names}\n")
    assert YoloDetection(root=tmp_path).class_names == ("cat", "dog")


def test_names_come_from_classes_txt_or_the_argument(tmp_path: Path) -> None:
    write(tmp_path, {"a": ""})
    (tmp_path / "data.yaml").unlink()
    with pytest.raises(FileNotFoundError, match=r"neither data\.yaml nor classes\.txt"):
        YoloDetection(root=tmp_path)
    (tmp_path / "classes.txt").write_text("big cat\ndog\n")
    assert YoloDetection(root=tmp_path).class_names == ("big cat", "dog")
    assert YoloDetection(root=tmp_path, class_names=["x"]).class_names == ("x",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: {1: cat, 2: dog}", r"keys of 'names' are \[1, 2\], not 0, 1, 2"),
        ("nc: 2", "'names' is None"),
        ("names: [", "not valid yaml"),
        ("names: !!python/object/apply:os.getcwd []", "not valid yaml"),
    ],
)
def test_a_bad_yaml_is_refused_naming_it(text: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, {"a": ""})
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"data\.yaml: .*{message}"):
        YoloDetection(root=tmp_path)


def test_both_layouts_are_found_and_val_may_be_called_valid(tmp_path: Path) -> None:
    write(tmp_path, {"a": ""}, images="train/images", folder="train/labels")
    write(tmp_path, {"b": ""}, images="valid/images", folder="valid/labels")
    assert YoloDetection(root=tmp_path)[0].path.name == "a.jpg"
    assert YoloDetection(root=tmp_path, split="val")[0].path.name == "b.jpg"
    with pytest.raises(FileNotFoundError, match=r"split 'test'; looked for images/test, test/images"):
        YoloDetection(root=tmp_path, split="test")
    with pytest.raises(FileNotFoundError, match=r"data\.root=nowhere: .*no such folder"):
        YoloDetection(root="nowhere")


def test_folders_below_the_split_keep_their_labels_apart(tmp_path: Path) -> None:
    data = YoloDetection(root=write(tmp_path, {"day 1/ä.1": "0 0.5 0.5 1 1", "day 2/ä.1": ""}))
    assert [len(sample.boxes) for sample in data] == [1, 0]


def test_a_missing_label_folder_is_told(tmp_path: Path) -> None:
    (write(tmp_path, {}) / "labels" / "train").rmdir()
    with pytest.raises(FileNotFoundError, match=r"labels/train: no such folder"):
        YoloDetection(root=tmp_path)


def test_an_empty_image_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"images/train: no picture to use"):
        YoloDetection(root=write(tmp_path, {}))


def test_bad_images_are_skipped_and_counted_when_asked(tmp_path: Path) -> None:
    write(tmp_path, {"a": "0 0.5 0.5 1 1", "b": "1 0.5 0.5 1 1"})
    (tmp_path / "images" / "train" / "a.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.jpg: empty file"):
        YoloDetection(root=tmp_path)
    data = YoloDetection(root=tmp_path, bad_images="skip")
    assert (len(data), data.skipped_images, data[0].labels.tolist()) == (1, 1, [1])
    assert len(YoloDetection(root=tmp_path, bad_images="skip", limit=2)) == 1
