from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnv2dense.data.datasets.voc import VocDetection
from mnv2dense.types import IGNORE_LABEL
from mnv2dense.types.class_lists import VOC_CLASSES


def voc_object(name: str = "cat", corners: tuple[object, ...] = (1, 1, 64, 48), extra: str = "") -> str:
    box = "".join(
        f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    )
    return f"<object><name>{name}</name>{extra}<bndbox>{box}</bndbox></object>"


def write(root: Path, images: dict[str, str], split: str = "train", size: tuple[int, int] = (64, 48)) -> Path:
    """Images of 64x48, stem -> the xml of its objects."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for stem, objects in images.items():
        Image.new("RGB", (64, 48)).save(root / "JPEGImages" / f"{stem}.jpg")
        header = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
        (root / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{header}{objects}</annotation>")
    (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(images) + "\n")
    return root


def test_one_based_inclusive_corners_become_zero_based_half_open(tmp_path: Path) -> None:
    objects = voc_object(corners=(1, 1, 64, 48)) + voc_object("dog", (11, 6, 30, 15))
    sample = VocDetection(root=write(tmp_path, {"000005": objects}))[0]
    assert sample.boxes.tolist() == [[0, 0, 64, 48], [10, 5, 30, 15]]
    assert sample.labels.tolist() == [VOC_CLASSES.index("cat"), VOC_CLASSES.index("dog")]
    assert (sample.boxes.dtype, sample.labels.dtype) == (np.float32, np.int64)


def test_difficult_objects_are_ignored_or_kept_as_asked(tmp_path: Path) -> None:
    write(tmp_path, {"1": voc_object(extra="<difficult>1</difficult>") + voc_object("dog")})
    ignored, kept = VocDetection(root=tmp_path), VocDetection(root=tmp_path, difficult="keep")
    assert ignored[0].labels.tolist() == [IGNORE_LABEL, 11]
    assert [row["iscrowd"] for row in ignored.coco_ground_truth()["annotations"]] == [1, 0]
    assert kept[0].labels.tolist() == [7, 11]
    assert [row["iscrowd"] for row in kept.coco_ground_truth()["annotations"]] == [0, 0]
    with pytest.raises(ValueError, match="difficult='drop' is neither"):
        VocDetection(root=tmp_path, difficult="drop")  # type: ignore[arg-type]


def test_parts_of_persons_are_not_objects(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>5</xmin></bndbox></part>"
    data = VocDetection(root=write(tmp_path, {"1": voc_object("person", extra=part)}))
    assert data[0].labels.tolist() == [14]


def test_the_ground_truth_has_coco_boxes_and_ids_from_one(tmp_path: Path) -> None:
    truth = VocDetection(root=write(tmp_path, {"000012": voc_object(corners=(11, 6, 30, 15))})).coco_ground_truth()
    assert truth["annotations"] == [
        {"id": 1, "image_id": 12, "category_id": 8, "bbox": [10, 5, 20, 10], "area": 200, "iscrowd": 0}
    ]
    assert truth["categories"][7] == {"id": 8, "name": "cat"}
    assert truth["images"] == [{"id": 12, "file_name": "000012.jpg", "height": 48, "width": 64}]


def test_ids_are_the_numbers_of_the_names_or_else_positions(tmp_path: Path) -> None:
    write(tmp_path / "numbers", {"000012": voc_object(), "000005": ""})
    assert [sample.image_id for sample in VocDetection(root=tmp_path / "numbers")] == [12, 5]
    write(tmp_path / "words", {"2008_000012": "", "7": "", "blood cell": voc_object()})
    assert [sample.image_id for sample in VocDetection(root=tmp_path / "words")] == [1, 2, 3]
    write(tmp_path / "same number", {"012": voc_object(), "12": ""})
    assert [sample.image_id for sample in VocDetection(root=tmp_path / "same number")] == [1, 2]


def test_other_classes_are_found_in_all_splits_alike(tmp_path: Path) -> None:
    write(tmp_path, {"1": voc_object("zebra")}, split="train")
    write(tmp_path, {"2": voc_object("ant")}, split="val")
    for split, label in (("train", 1), ("val", 0)):
        data = VocDetection(root=tmp_path, split=split)
        assert data.class_names == ("ant", "zebra")
        assert data[0].labels.tolist() == [label]


def test_some_voc_classes_are_numbered_as_all_twenty(tmp_path: Path) -> None:
    assert VocDetection(root=write(tmp_path, {"1": voc_object("tvmonitor")})).class_names == VOC_CLASSES
    assert len(VOC_CLASSES) == 20
    assert list(VOC_CLASSES) == sorted(VOC_CLASSES)


def test_a_class_that_is_not_listed_is_refused_naming_the_file(tmp_path: Path) -> None:
    write(tmp_path, {"000005": voc_object("zebra")})
    with pytest.raises(ValueError, match=r"000005\.xml: class 'zebra' is not among the 2 class_names: cat, dog"):
        VocDetection(root=tmp_path, class_names=["cat", "dog"])


def test_a_devkit_its_year_or_a_bare_folder_may_be_the_root(tmp_path: Path) -> None:
    write(tmp_path / "VOCdevkit" / "VOC2012", {"1": voc_object()})
    for root in (tmp_path, tmp_path / "VOCdevkit", tmp_path / "VOCdevkit" / "VOC2012"):
        assert len(VocDetection(root=root, year=2012)) == 1
    with pytest.raises(FileNotFoundError, match=r"no Annotations folder in .*VOC2007.*it has: \['VOC2012'\]"):
        VocDetection(root=tmp_path / "VOCdevkit")
    with pytest.raises(FileNotFoundError, match=r"root=nowhere: no such folder"):
        VocDetection(root="nowhere")


def test_an_unknown_split_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"test\.txt: no such split; there are: train\."):
        VocDetection(root=write(tmp_path, {"1": voc_object()}), split="test")


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<annotation><object>", r"000005\.xml: not valid xml \(no element found"),
        ("", r"000005\.xml: not valid xml"),
        ("<annotation><object></object></annotation>", r"000005\.xml: <object> without <name>"),
        ("<annotation><object><name>cat</name></object></annotation>", "<object> without <bndbox/xmin>"),
        (f"<annotation>{voc_object(corners=('', 1, 2, 3))}</annotation>", "<object> without <bndbox/xmin>"),
        (
            f"<annotation>{voc_object(corners=('left', 1, 2, 3))}</annotation>",
            r"000005\.xml: <xmin>left</xmin> of a 'cat'",
        ),
        (f"<annotation>{voc_object(corners=('nan', 1, 2, 3))}</annotation>", "<xmin>nan</xmin> of a 'cat'"),
        (f"<annotation>{voc_object(corners=(1, 1, 'inf', 3))}</annotation>", "<xmax>inf</xmax> of a 'cat'"),
        (f"<annotation>{voc_object(corners=(1, 1, 9, 1e9))}</annotation>", "no place in an image"),
        (f"<annotation>{voc_object(corners=('9' * 5000, 1, 9, 9))}</annotation>", r"<xmin>9{40}</xmin> of a 'cat'"),
        (f"<annotation><size><width>{'x' * 5000}</width></size></annotation>", "<width>x{40}</width> in <size>"),
        ("<annotation><size><width>wide</width></size></annotation>", r"000005\.xml: <width>wide</width> in <size>"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', r"000005\.xml: declares the encoding 'klingon'"),
        ("<a>" * 100_000, r"000005\.xml: not valid xml|nested too deep"),
        (
            f"<annotation>{voc_object(extra='<difficult>maybe</difficult>')}</annotation>",
            r"000005\.xml: <difficult> of a 'cat': 'maybe' is neither yes .* nor no",
        ),
        (
            f"<annotation>{voc_object(extra='<truncated>partly</truncated>')}</annotation>",
            r"000005.xml: <truncated> of a 'cat': 'partly' is neither yes .* nor no",
        ),
        (f"<annotation>{voc_object('  ')}</annotation>", "<object> without <name>"),
        (
            f"<annotation>{voc_object(extra='<bndbox><xmin>1</xmin></bndbox>')}</annotation>",
            r"000005\.xml: <object> with 2 times <bndbox/xmin>; leave one",
        ),
        (
            f"<annotation>{voc_object(extra='<difficult>0</difficult><difficult>1</difficult>')}</annotation>",
            "with 2 times <difficult>",
        ),
        (f"<annotation>{voc_object().replace('<xmin>', '<xmin>1_')}</annotation>", r"<xmin>1_.* is no place"),
        (f"<annotation>{voc_object('a&#10;b')}</annotation>", r"000005\.xml: the class name 'a\\nb' holds '\\n'"),
        ('<!DOCTYPE a [<!ENTITY b "cc">]><annotation>&b;</annotation>', r"000005\.xml: has a DOCTYPE"),
    ],
)
def test_a_broken_annotation_is_refused_naming_the_file(xml: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, {"000005": ""})
    (tmp_path / "Annotations" / "000005.xml").write_text(xml)
    for class_names in (None, ["cat"]):
        with pytest.raises(ValueError, match=message):
            VocDetection(root=tmp_path, class_names=class_names)


def test_boxes_without_area_are_dropped_and_others_clipped_and_counted(tmp_path: Path) -> None:
    corners = [(11, 6, 10, 15), (30, 6, 20, 15), (65, 1, 80, 9), (-20, 40, 10, 60), (0, 0, 64, 48)]
    data = VocDetection(root=write(tmp_path, {"1": "".join(voc_object(corners=c) for c in corners)}))
    assert (data.dropped_boxes, data.clipped_boxes) == (3, 1)
    assert data[0].boxes.tolist() == [[0, 39, 10, 48], [0, 0, 64, 48]]  # 0-based tools write xmin 0: no clip


def test_a_image_without_objects_stays_as_a_negative(tmp_path: Path) -> None:
    data = VocDetection(root=write(tmp_path, {"1": "", "2": voc_object()}))
    assert [len(sample.boxes) for sample in data] == [0, 1]


def test_a_size_of_zero_is_read_from_the_image_and_another_size_refused(tmp_path: Path) -> None:
    objects = voc_object(corners=(1, 1, 999, 999))
    data = VocDetection(root=write(tmp_path / "zero", {"1": objects}, size=(0, 0)))
    assert data[0].boxes.tolist() == [[0, 0, 64, 48]]
    data = VocDetection(root=write(tmp_path / "other", {"1": voc_object()}, size=(100, 80)))
    with pytest.raises(ValueError, match=r"1\.jpg: the image is 64x48, but .* describes one of 100x80"):
        data[0]


def test_missing_files_are_one_report_each(tmp_path: Path) -> None:
    write(tmp_path, {"1": voc_object(), "2": voc_object()})
    (tmp_path / "Annotations" / "2.xml").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 annotations are missing: 2\.xml"):
        VocDetection(root=tmp_path)
    (tmp_path / "JPEGImages" / "1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"train\.txt: 1 of 2 images are missing: 1\.jpg"):
        VocDetection(root=tmp_path)


def test_bad_images_are_skipped_and_counted_when_asked(tmp_path: Path) -> None:
    write(tmp_path, {"1": voc_object(), "2": voc_object("dog"), "3": ""})
    (tmp_path / "JPEGImages" / "1.jpg").write_text("<html>")
    data = VocDetection(root=tmp_path, bad_images="skip", limit=2)
    assert (len(data), data.skipped_images) == (1, 1)
    assert (data[0].image_id, data[0].labels.tolist()) == (2, [11])


def test_images_may_have_another_suffix_and_any_name(tmp_path: Path) -> None:
    write(tmp_path, {"drei Käfer": voc_object()})
    image = tmp_path / "JPEGImages" / "drei Käfer.jpg"
    Image.open(image).save(image.with_suffix(".PNG"), "PNG")
    image.unlink()
    assert VocDetection(root=tmp_path)[0].path == image.with_suffix(".PNG")


def test_a_name_listed_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"1": voc_object()})
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("1\n1\n")
    with pytest.raises(ValueError, match=r"train\.txt: listed more than once: 1"):
        VocDetection(root=tmp_path)


def test_real_voc_2007_loads_whole(shared: Path) -> None:
    splits = [VocDetection(root=shared / "data" / "VOCdevkit", split=split) for split in ("train", "val")]
    assert [len(data) for data in splits] == [800, 165]
    assert all(data.class_names == VOC_CLASSES for data in splits)
    sample = splits[0][0]
    assert (sample.path.name, sample.image_id) == (f"{sample.image_id:06d}.jpg", int(sample.path.stem))
    for data in splits:
        assert (data.dropped_boxes, data.clipped_boxes) == (0, 0)
    crowds = sum(row["iscrowd"] for row in splits[1].coco_ground_truth()["annotations"])
    labels = np.concatenate([sample.labels for sample in splits[1]])
    assert crowds == (labels == IGNORE_LABEL).sum() > 0


def test_real_blood_cells_have_three_classes(shared: Path) -> None:
    splits = [VocDetection(root=shared / "data" / "bccd", split=split) for split in ("train", "val")]
    assert [len(data) for data in splits] == [205, 87]
    assert all(data.class_names == ("Platelets", "RBC", "WBC") for data in splits)


@pytest.mark.parametrize(
    ("word", "is_difficult"),
    [
        *((word, True) for word in ("1", "true", "True", "YES", " 1 ", "1.0")),
        *((word, False) for word in ("0", "0.0", "false", "False", "no", "None", "Unspecified", "", "  ")),
    ],
)
def test_words_say_whether_an_object_is_difficult(word: str, is_difficult: bool, tmp_path: Path) -> None:
    extra = f"<pose>Unspecified</pose><truncated>Unspecified</truncated><difficult>{word}</difficult>"
    data = VocDetection(root=write(tmp_path, {"1": voc_object(extra=extra)}))
    assert (sum(data.box_counts), data.ignored_count) == ((0, 1) if is_difficult else (1, 0))


def test_sizes_with_a_point_namespaces_and_declared_encodings_are_read(tmp_path: Path) -> None:
    write(tmp_path, {"1": "", "2": ""})
    cat = voc_object("\u732b")
    size = "<size><width>64.0</width><height>48.0</height></size>"
    (tmp_path / "Annotations" / "1.xml").write_text(
        f'<annotation xmlns="http://a.b/c">{size}{cat}</annotation>', encoding="utf-8"
    )
    text = f'<?xml version="1.0" encoding="{{}}"?><annotation>{cat}</annotation>'
    for encoding in ("GBK", "utf-16", "UTF-8", "shift_jis"):
        (tmp_path / "Annotations" / "2.xml").write_text(text.format(encoding), encoding=encoding)
        data = VocDetection(root=tmp_path)
        assert data.class_names == ("\u732b",)
        assert data.box_counts == [2]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_lists_may_begin_with_a_byte_order_mark(encoding: str, tmp_path: Path) -> None:
    write(tmp_path, {"a": voc_object(), "b": ""})
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a\r\nb\r\n", encoding=encoding)
    assert len(VocDetection(root=tmp_path)) == 2


def test_what_a_mac_leaves_in_archives_is_nobodys_data(tmp_path: Path) -> None:
    write(tmp_path, {"a": voc_object()})
    for name in ("Annotations/._a.xml", "Annotations/._b.xml", "JPEGImages/._a.jpg"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        ")
    assert VocDetection(root=tmp_path).class_names == VOC_CLASSES


def test_boxes_that_are_shares_of_the_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Annotations: the coordinates of all 1 boxes lie between 0 and 1, such as"):
        VocDetection(root=write(tmp_path, {"a": voc_object(corners=(0.1, 0.2, 0.5, 0.6))}))
    assert len(VocDetection(root=write(tmp_path, {"a": voc_object(corners=(1, 1, 1, 1))}))[0].boxes) == 1  # one pixel


def test_a_single_word_is_one_class(tmp_path: Path) -> None:
    assert VocDetection(root=write(tmp_path, {"a": voc_object()}), class_names="cat").class_names == ("cat",)
