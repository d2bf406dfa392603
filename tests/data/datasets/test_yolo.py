from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnv2dense.data.datasets.yolo import YoloDetection


def write(
    root: Path, labels: dict[str, str | None], images: str = "images/train", folder: str = "labels/train"
) -> Path:
    """Images of 64x48, stem -> label lines or no label file; classes cat, dog."""
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
    with pytest.raises(ValueError, match=r"labels/train: no label file for any of 1 images.*looked for a\.txt"):
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
        ("cat 0.5 0.5 0.5 0.5", "'cat' is no number"),
        ("0 0.5 0.5 0.5", "3 values after the class"),
        ("0 0.5 0.5 0.5 0.5 0.9", "5 values after the class"),
        ("0 32 24 16 16", "values are shares of the image"),
        ("0 nan 0.5 0.5 0.5", "values are shares of the image"),
        ("0 inf 0.5 0.5 0.5", "values are shares of the image"),
        ("0 0.5 0.5 0.5 0.5 0.9 17", "6 values after the class, the last of them 17: a confidence and the number of"),
        ("0 0.5 0.5 0.5 0.5 0.4 0.4 2", "7 values .*; a box with key points needs 'kpt_shape' in data.yaml"),
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
        (
            "names: [yes, no]",
            "a class is called True, which was not read as text but as yes or no; put names in quotes",
        ),
        ("names: [01, 02]", "a class is called 1, which was not read as text but as a number"),
        ("names: [cat, null]", "a class is called null, .* as nothing"),
        ("names: [cat, {a: b}]", r"a class is called \{'a': 'b'\}, .* as a dict"),
        ("names: {0: cat, '1': dog}", r"keys of 'names' are \[0, '1'\], not 0, 1, 2, ... Write 0: name"),
        ("names: {0: cat, yes: dog}", r"keys of 'names' are \[0, True\]"),
        ("names: [cat, cat]", "lists cat more than once"),
        ("names: ['']", "a class has the empty name ''"),
        ("names: 5", "'names' is 5"),
        ("- cat", "no mapping of names to values"),
        ("kpt_shape: 17\nnames: [cat, dog]", "kpt_shape is 17"),
        ("names: [cat, dog]\ntrain: 3", "train is 3; give a folder, a list of images"),
        ("names: [", "not valid yaml"),
        ("a: " + "[" * 5000, "nested too deep|not valid yaml"),
        (
            "a0: &a0 [x, x]\n"
            + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
            + "names: *a8",
            "aliases stand for more than 200,000 values",
        ),
        ("names: &a [*a]", "aliases stand for more than 200,000 values"),
        ("names: !!python/object/apply:os.getcwd []", "not valid yaml"),
        ("names: [2021-13-45]", "holds what cannot be read .month must be in 1..12.; put texts in quotes"),
        ("names: [" + "9" * 5000 + "]", "holds what cannot be read .*4300 digits"),
        ("names: {0: cat, 1: dog, 1: owl}", r"the key '1' \(line 1\) is there twice in one mapping"),
        ("names: [cat]\n---\nnames: [dog]", r"not valid yaml \(line 2: .*but found another document\)\.$"),
        ("nc: 80\nnames: [cat, dog]", "nc is 80, but 'names' lists 2 classes"),
    ],
)
def test_a_bad_yaml_is_refused_naming_it(text: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, {"a": ""})
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"data\.yaml: .*{message}"):
        YoloDetection(root=tmp_path)


def test_a_folder_by_a_name_that_none_can_have_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, {"a": "0 0.5 0.5 1 1"})
    (tmp_path / "data.yaml").write_text(f"names: [cat, dog]\ntrain: {'x' * 5000}")
    assert len(YoloDetection(root=tmp_path)) == 1
    assert f"data.yaml: train names {'x' * 300}, which is not there" in caplog.text


def test_a_base_that_cannot_be_looked_into_does_not_hide_the_folder_beside_the_yaml(tmp_path: Path) -> None:
    """As of the machine that it was made on."""
    write(tmp_path, {"a": "0 0.5 0.5 1 1"}, images="street/images", folder="street/labels")
    (tmp_path / "data.yaml").write_text(f"names: [cat, dog]\npath: /{'x' * 5000}\ntrain: street/images")
    assert YoloDetection(root=tmp_path).paths == [tmp_path / "street" / "images" / "a.jpg"]


def test_a_list_with_a_name_that_no_file_can_have_misses_an_image(tmp_path: Path) -> None:
    write(tmp_path, {"a": "0 0.5 0.5 1 1"})
    (tmp_path / "train.txt").write_text(f"images/train/a.jpg\nimages/train/{'x' * 5000}.jpg\n")
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\ntrain: train.txt")
    with pytest.raises(FileNotFoundError, match=r"1 of 2 images are missing: x{300}"):
        YoloDetection(root=tmp_path)


def test_both_layouts_are_found_and_val_may_be_called_valid(tmp_path: Path) -> None:
    write(tmp_path, {"a": ""}, images="train/images", folder="train/labels")
    write(tmp_path, {"b": ""}, images="valid/images", folder="valid/labels")
    assert YoloDetection(root=tmp_path)[0].path.name == "a.jpg"
    assert YoloDetection(root=tmp_path, split="val")[0].path.name == "b.jpg"
    with pytest.raises(FileNotFoundError, match=r"split 'test'; looked for images/test, test/images"):
        YoloDetection(root=tmp_path, split="test")
    with pytest.raises(FileNotFoundError, match=r"root=nowhere: .*no such folder"):
        YoloDetection(root="nowhere")


def test_folders_below_the_split_keep_their_labels_apart(tmp_path: Path) -> None:
    data = YoloDetection(root=write(tmp_path, {"day 1/ä.1": "0 0.5 0.5 1 1", "day 2/ä.1": ""}))
    assert [len(sample.boxes) for sample in data] == [1, 0]


def test_a_missing_label_folder_is_told(tmp_path: Path) -> None:
    (write(tmp_path, {}) / "labels" / "train").rmdir()
    with pytest.raises(FileNotFoundError, match=r"labels/train: no such folder"):
        YoloDetection(root=tmp_path)


def test_an_empty_image_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"images/train: no image to use"):
        YoloDetection(root=write(tmp_path, {}))


def test_bad_images_are_skipped_and_counted_when_asked(tmp_path: Path) -> None:
    write(tmp_path, {"a": "0 0.5 0.5 1 1", "b": "1 0.5 0.5 1 1"})
    (tmp_path / "images" / "train" / "a.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.jpg: empty file"):
        YoloDetection(root=tmp_path)
    data = YoloDetection(root=tmp_path, bad_images="skip")
    assert (len(data), data.skipped_images, data[0].labels.tolist()) == (1, 1, [1])
    assert len(YoloDetection(root=tmp_path, bad_images="skip", limit=2)) == 1


POSE = "0 0.643712 0.548266 0.0960109 0.057663 0.595707 0.519435 2 0.646533 0.526217 2 0.682304 0.548261 2 0.69 0.577 1"


def test_boxes_are_taken_of_labels_with_the_key_points_that_the_yaml_announces(tmp_path: Path) -> None:
    write(tmp_path, {"a": f"{POSE}\n1 0.5 0.5 0.25 0.5"})
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\nkpt_shape: [4, 3]\n")
    boxes = YoloDetection(root=tmp_path)[0].boxes
    assert boxes is not None
    assert boxes[0].tolist() == pytest.approx([38.125, 24.933, 44.270, 27.701], abs=1e-3)
    assert boxes[1].tolist() == [24, 12, 40, 36]
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\nkpt_shape: [3, 3]\n")
    with pytest.raises(ValueError, match=r"16 values after the class; .*the 3 key points of 3 values .* announces 13"):
        YoloDetection(root=tmp_path)


@pytest.mark.parametrize(
    ("lines", "reading"),
    [
        (POSE, "4 key points, each with a flag whether it is seen"),
        ("0 0.5 0.5 0.4 0.4 0.4 0.4 0.6 0.6", "2 key points"),
        ("0 0.5 0.5 0.4 0.4 0.4 0.4 0.6 0.6\n0 0.3 0.3 0.2 0.2 0.3 0.25 0 0", "2 key points"),
        ("0 0.5 0.5 0.4 0.4 0.93 1", "a confidence and the number of a track"),
    ],
)
def test_lines_that_could_be_outlines_as_well_as_something_else_are_refused(
    lines: str, reading: str, tmp_path: Path
) -> None:
    write(tmp_path, {"a": f"0 0.5 0.5 0.25 0.5\n{lines}"})
    with pytest.raises(ValueError, match=rf"a\.txt, line 2: .* could be an outline as well as a box with {reading}"):
        YoloDetection(root=tmp_path)
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\ntask: segment\n")
    assert len(YoloDetection(root=tmp_path)[0].boxes) > 1  # type: ignore[arg-type]


def test_outlines_show_in_their_different_numbers_of_corners(tmp_path: Path) -> None:
    inside = "0 0.5 0.5 0.4 0.4 0.4 0.4 0.6 0.6"  # alone it could be a box with two key points
    data = YoloDetection(root=write(tmp_path, {"a": inside, "b": "0 0.25 0.5 0.5 0.25 0.75 0.75"}))
    assert data[0].boxes.tolist() == pytest.approx(np.array([[25.6, 19.2, 38.4, 28.8]]))


@pytest.mark.parametrize("entry", ["train.txt", "[train.txt]", "some", "[some]", "../some"])
def test_the_yaml_says_where_the_images_of_a_split_are(entry: str, tmp_path: Path) -> None:
    write(tmp_path, {"a": "0 0.5 0.5 1 1", "b": "0 0.5 0.5 1 1"})
    (tmp_path / "train.txt").write_text("./images/train/b.jpg\n\n", encoding="utf-8-sig")
    (tmp_path / "some").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "some" / "b.jpg")
    (tmp_path / "some" / "b.txt").write_text("1 0.5 0.5 1 1")
    (tmp_path / "data.yaml").write_text(f"path: .\ntrain: {entry}\nval: images/val\nnames: [cat, dog]\n")
    data = YoloDetection(root=tmp_path)
    assert [path.name for path in data.paths] == ["b.jpg"]
    assert data[0].labels.tolist() == [0 if "txt" in entry else 1]


def test_a_long_list_with_one_line_twice_is_refused_at_once(tmp_path: Path) -> None:
    """Every path used to be counted in all of them: an hour for a hundred thousand."""
    write(tmp_path, {"a": "0 0.5 0.5 1 1"})
    names = [f"images/train/{number}.jpg" for number in range(20_000)]
    (tmp_path / "train.txt").write_text("\n".join([*names, names[7], "x" * 5000]))
    (tmp_path / "data.yaml").write_text("train: train.txt\nnames: [cat, dog]\n")
    began = time.process_time()
    with pytest.raises(ValueError, match=r"train\.txt: listed more than once: .*/images/train/7\.jpg\. Remove"):
        YoloDetection(root=tmp_path)
    assert time.process_time() - began < 10


def test_folders_of_a_list_count_together_and_a_place_of_another_machine_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, {"a": "0 0.5 0.5 1 1"}, images="images/one", folder="labels/one")
    write(tmp_path, {"b": "0 0.5 0.5 1 1"}, images="images/train", folder="labels/train")
    yaml = tmp_path / "data.yaml"
    yaml.write_text("train: [images/one, images/train]\nnames: [cat, dog]\n")
    assert len(YoloDetection(root=tmp_path)) == 2
    assert caplog.text == ""
    yaml.write_text("train: /home/ann/cats/images\nnames: [cat, dog]\n")
    assert len(YoloDetection(root=tmp_path)) == 1
    assert "train names /home/ann/cats/images, which is not there; the customary folders are looked at" in caplog.text
    yaml.write_text("train: [images/one, images/two]\nnames: [cat, dog]\n")
    with pytest.raises(FileNotFoundError, match="train names images/two, which is not there"):
        YoloDetection(root=tmp_path)


def test_labels_without_images_and_images_without_labels_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, {"a": "0 0.5 0.5 1 1", "b": None, "c": None})
    (tmp_path / "labels" / "train" / "z.txt").write_text("0 0.5 0.5 1 1")
    YoloDetection(root=tmp_path)
    assert "2 of 3 images have no label file, such as b.jpg" in caplog.text
    assert "1 label files fit no image, such as z.txt" in caplog.text


def test_a_single_word_is_one_class(tmp_path: Path) -> None:
    assert YoloDetection(root=write(tmp_path, {"a": ""}), class_names="cat").class_names == ("cat",)


def test_text_in_another_encoding_is_named_with_its_file(tmp_path: Path) -> None:
    write(tmp_path, {"a": "0 0.5 0.5 1 1"})
    label = tmp_path / "labels" / "train" / "a.txt"
    label.write_text("0 0.5 0.5 1 1", encoding="utf-16")
    assert len(YoloDetection(root=tmp_path)[0].boxes) == 1  # type: ignore[arg-type]
    label.write_text("0 0.5 0.5 1 1", encoding="utf-16-le")
    with pytest.raises(ValueError, match=r"a\.txt: .* it looks like UTF-16 without its mark, little end first"):
        YoloDetection(root=tmp_path)
    (tmp_path / "data.yaml").write_text("names: [\u732b, \u72d7]", encoding="gbk")
    with pytest.raises(ValueError, match=r"data\.yaml: not UTF-8 text .* it looks like GBK. Save it as UTF-8"):
        YoloDetection(root=tmp_path)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_text("caf\u00e9\ndog\n", encoding="cp1252")
    with pytest.raises(ValueError, match=r"classes\.txt: not UTF-8 text \(byte 0xe9 at 3\); it looks like cp1252"):
        YoloDetection(root=tmp_path)


def test_images_left_out_are_one_line_and_windows_jpegs_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, {"a": "0 0.5 0.5 1 1", "b": "0 0.5 0.5 1 1"})
    folder = tmp_path / "images" / "train"
    (folder / "a.jpg").rename(folder / "a.jfif")
    (folder / "b.jpg").unlink()
    (folder / "b.jpg").symlink_to("/nowhere/b.jpg")
    (folder / "linked").symlink_to(tmp_path / "labels")
    (folder / "._a.jpg").write_bytes(b"\0\5\x16\7")
    assert [path.name for path in YoloDetection(root=tmp_path).paths] == ["a.jfif"]
    assert "left out 1 links to nothing (such as b.jpg), 1 linked folders (such as linked)" in caplog.text


@pytest.mark.parametrize("word", ["0.5_5", "0,5", "\u0660.5", "0.5;", "five"])
def test_a_word_that_is_no_number_is_named_by_its_line(word: str, tmp_path: Path) -> None:
    write(tmp_path, {"a": f"0 0.5 0.5 0.2 0.2\n0 {word} 0.5 0.2 0.2\n"})
    with pytest.raises(ValueError, match=rf"a\.txt, line 2: '{word}' is no number, such as 0.25; the line is '0 "):
        YoloDetection(root=tmp_path)
