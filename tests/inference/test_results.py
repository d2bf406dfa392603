"""Results that know their image: drawn, saved, and handed to others."""

from __future__ import annotations

import csv
import json
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mnv2dense import deeplabv3_mobilenet_v2, mobilenet_v2_classifier
from mnv2dense.inference.prediction_files import PredictionFiles
from mnv2dense.inference.predictor import Predictor
from mnv2dense.inference.results import (
    ImageClassification,
    ImageDetections,
    ImageResult,
    ImageSegmentation,
    with_image,
)
from mnv2dense.types import Classification, Detections, JointResult, Segmentation
from mnv2dense.visualization.draw import class_color
from tests.helpers.tiny import tiny_model

IMAGE = np.full((40, 60, 3), 200, np.uint8)
NAMES = ("cat", "dog", "cow")


def detections() -> ImageDetections:
    found = Detections(
        torch.tensor([[10.0, 5.0, 30.5, 25.0], [0.0, 0.0, 8.0, 8.0]]),
        torch.tensor([0.75, 0.25]),
        torch.tensor([2, 0]),
        NAMES,
    )
    result = with_image(found, IMAGE, (40, 60), (7, 8, 90))
    assert isinstance(result, ImageDetections)
    return result


def segmentation() -> ImageSegmentation:
    labels = torch.zeros(4, 6, dtype=torch.uint8)
    labels[1:3, 2:5] = 2
    found = Segmentation(labels, ("background", "road", "car"), ((0, 0, 0), (9, 9, 9), (250, 0, 0)))
    result = with_image(found, IMAGE[:4, :6], (4, 6), (0, 11, 12))
    assert isinstance(result, ImageSegmentation)
    return result


def classification() -> ImageClassification:
    found = Classification(torch.tensor([0.75, 0.125]), torch.tensor([1, 0]), NAMES)
    result = with_image(found, IMAGE, (40, 60), (7, 8, 90))
    assert isinstance(result, ImageClassification)
    return result


def test_a_plot_is_the_image_with_the_boxes_on_it() -> None:
    drawn = detections().plot()
    assert isinstance(drawn, Image.Image)
    assert drawn.size == (60, 40)
    changed = (np.asarray(drawn) != IMAGE).any(axis=2)
    assert changed[5, 10:30].all()
    assert not changed[30:, 40:].any()
    assert (IMAGE == 200).all()
    nothing = detections().plot(threshold=0.9)
    assert (np.asarray(nothing) == IMAGE).all()


def test_fewer_results_still_know_their_image() -> None:
    strict = detections().above(0.5).to("cpu")
    assert isinstance(strict, ImageDetections)
    assert strict.names == ["cow"]
    assert strict.image is IMAGE
    best = classification().top(1)
    assert isinstance(best, ImageClassification)
    assert best.plot().size == (60, 40)


@pytest.mark.parametrize("name", ["a.png", "folder/a.jpg", "a.WEBP"])
def test_a_result_is_saved_in_the_format_of_the_suffix(tmp_path: Path, name: str) -> None:
    assert detections().save(tmp_path / name) == tmp_path / name
    with Image.open(tmp_path / name) as saved:
        assert saved.size == (60, 40)
        assert saved.format == {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}[Path(name).suffix.lower()]


def test_a_suffix_that_names_no_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.mp3: the suffix names the format, as in a\.jpg or \.png"):
        detections().save(tmp_path / "a.mp3")


def test_what_a_path_led_to_is_read_again_for_a_plot(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(IMAGE).save(path)
    found = Predictor(tiny_model(), device="cpu")(path)
    assert found.given == path
    assert found.plot().size == (60, 40)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.png"):
        found.plot()
    assert found.to_dict()["width"] == 60


def test_boxes_in_cocos_form_have_the_datas_own_ids_and_width_and_height() -> None:
    assert detections().to_coco(5) == [
        {"image_id": 5, "category_id": 90, "bbox": [10.0, 5.0, 20.5, 20.0], "score": 0.75},
        {"image_id": 5, "category_id": 7, "bbox": [0.0, 0.0, 8.0, 8.0], "score": 0.25},
    ]


def test_pycocotools_takes_boxes_and_masks_as_results() -> None:
    from pycocotools.coco import COCO

    for result in (detections(), segmentation()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": 5, "height": result.size[0], "width": result.size[1]}],
            "categories": [{"id": number, "name": str(number)} for number in result.category_ids],
            "annotations": [],
            "info": {},
        }
        truth.createIndex()
        entries = json.loads(json.dumps(result.to_coco(5)))
        assert len(truth.loadRes(entries).getAnnIds()) == len(entries) == 2


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools, with numpy 2.4
def test_masks_in_cocos_form_decode_to_the_same_pixels() -> None:
    from pycocotools import mask as coco_mask

    result = segmentation()
    rebuilt = np.full((4, 6), 255)
    for entry in result.to_coco(1):
        label = result.category_ids.index(entry["category_id"])
        rebuilt[coco_mask.decode(entry["segmentation"]) == 1] = label
    assert (rebuilt == result.labels.numpy()).all()


def test_a_dict_is_plain_json_and_says_it_all() -> None:
    for result in (detections(), segmentation(), classification()):
        assert json.loads(json.dumps(result.to_dict())) == result.to_dict()
    assert detections().to_dict() == {
        "task": "detection",
        "height": 40,
        "width": 60,
        "boxes": [
            {"name": "cow", "label": 2, "score": 0.75, "box": [10.0, 5.0, 30.5, 25.0]},
            {"name": "cat", "label": 0, "score": 0.25, "box": [0.0, 0.0, 8.0, 8.0]},
        ],
    }
    assert classification().to_dict()["classes"][0] == {"name": "dog", "label": 1, "score": 0.75}
    masks = segmentation().to_dict()
    assert masks["classes"] == [
        {"name": "background", "label": 0, "pixels": 18, "share": 0.75},
        {"name": "car", "label": 2, "pixels": 6, "share": 0.25},
    ]
    assert [label for label, length in masks["runs"] for _ in range(length)] == segmentation().labels.flatten().tolist()


def test_label_images_have_the_datas_palette(tmp_path: Path) -> None:
    with Image.open(segmentation().save_labels(tmp_path / "a.png")) as labels:
        assert (np.asarray(labels) == segmentation().labels.numpy()).all()
        assert labels.convert("RGB").getpixel((2, 1)) == (250, 0, 0)


def test_every_task_gives_results_with_their_image() -> None:
    names = ("background", "road")
    masks = Predictor(deeplabv3_mobilenet_v2(class_names=names, width_mult=0.35, size=(64, 64)).eval(), device="cpu")
    classes = Predictor(mobilenet_v2_classifier(class_names=NAMES, width_mult=0.35, size=(64, 64)).eval(), device="cpu")
    assert isinstance(masks(IMAGE), ImageSegmentation)
    assert isinstance(classes(IMAGE), ImageClassification)
    for predictor in (masks, classes):
        assert predictor(IMAGE).plot().size == (60, 40)
        assert predictor(IMAGE).size == (40, 60)


# --- tracks ----------------------------------------------------------------------------------------------------------


def test_tracks_go_along_with_their_boxes() -> None:
    tracked = replace(detections(), tracks=torch.tensor([4, 9]))
    assert tracked[1:].tracks is not None
    assert tracked[1:].tracks.tolist() == [9]
    assert tracked.above(0.5).to("cpu").tracks.tolist() == [4]  # type: ignore[union-attr]
    assert [row["track_id"] for row in tracked.to_coco(1)] == [4, 9]
    assert [box["track"] for box in tracked.to_dict()["boxes"]] == [4, 9]
    assert "track_id" not in detections().to_coco(1)[0]
    assert "track" not in detections().to_dict()["boxes"][0]
    merged = Detections.merge([tracked[:1], tracked[1:]])
    assert merged.tracks is not None
    assert merged.tracks.tolist() == [4, 9]
    assert Detections.merge([tracked, detections()]).tracks is None  # of some it is not known
    with pytest.raises(ValueError, match=r"tracks are \[1\]: N boxes need \[N\], and labels are \[2\]"):
        replace(detections(), tracks=torch.tensor([1]))


def test_a_tracked_box_is_drawn_in_the_colour_of_its_track_and_not_of_its_class() -> None:
    same_class = replace(detections(), labels=torch.tensor([2, 2]), tracks=torch.tensor([1, 2]))
    drawn = np.asarray(same_class.plot())
    for color, there in ((class_color(0), True), (class_color(1), True), (class_color(2), False)):
        assert (drawn == np.array(color)).all(axis=2).any() == there


@pytest.mark.parametrize("tracked", [True, False])
def test_the_table_says_which_track_where_there_are_some(tmp_path: Path, tracked: bool) -> None:
    boxes = replace(detections(), tracks=torch.tensor([4, 9])) if tracked else detections()
    masks = Segmentation(torch.zeros(40, 60, dtype=torch.uint8), ("background", "road", "car"))
    both = with_image(JointResult({"boxes": boxes, "masks": masks}), IMAGE, (40, 60), (7, 8, 90, 0, 11, 12))
    names = ("boxes/cat", "boxes/dog", "boxes/cow", "masks/background", "masks/road", "masks/car")
    options: dict[str, Any] = {"task": "joint", "class_names": names, "category_ids": range(6), "tracked": tracked}
    with PredictionFiles(tmp_path, **options) as files:
        files.add({"id": 1, "file_name": "a.mp4", "height": 40, "width": 60}, both)
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    assert (header[-1] == "track") is tracked
    assert [row[-1] for row in rows[:2]] == (["4", "9"] if tracked else ["", ""])  # else the share of masks
    assert {len(row) for row in rows} == {len(header)}


# --- supervision -----------------------------------------------------------------------------------------------------


def test_without_supervision_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match=r'needs supervision: pip install "mnv2dense\[supervision\]"$'):
        detections().to_supervision()


def test_supervision_is_given_arrays_of_its_own_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("supervision")
    for name in ("Detections", "Classifications"):
        setattr(module, name, lambda **values: values)
    monkeypatch.setitem(sys.modules, "supervision", module)
    boxes = detections().to_supervision()
    assert boxes["xyxy"].tolist() == [[10.0, 5.0, 30.5, 25.0], [0.0, 0.0, 8.0, 8.0]]
    assert boxes["class_id"].tolist() == [2, 0]
    assert boxes["data"]["class_name"].tolist() == ["cow", "cat"]
    masks = segmentation().to_supervision()
    assert masks["mask"].shape == (1, 4, 6)
    assert masks["xyxy"].tolist() == [[2.0, 1.0, 4.0, 2.0]]
    assert classification().to_supervision()["class_id"].tolist() == [1, 0]


def test_supervision_takes_the_results_and_draws_them() -> None:
    supervision: Any = pytest.importorskip("supervision")
    boxes = detections().to_supervision()
    assert len(boxes) == 2
    assert supervision.BoxAnnotator().annotate(IMAGE.copy(), boxes).shape == IMAGE.shape
    masks = segmentation().to_supervision()
    assert masks.area.tolist() == [6]
    assert masks.xyxy.tolist() == supervision.mask_to_xyxy(masks.mask).tolist()
    assert classification().to_supervision().get_top_k(1)[0].tolist() == [1]
    nothing = detections().above(1.0).to_supervision()
    assert len(nothing) == 0


def test_some_of_a_pictures_boxes_and_several_results_of_it_still_know_it() -> None:
    found = detections()
    assert [box.name for box in found] == ["cow", "cat"]
    for some in (found[:1], found[found.labels == 2], found[[0]], ImageDetections.merge([found[1:], found[:1]])[:1]):
        assert isinstance(some, ImageDetections)
        assert some.names == ["cow"]
        assert some.image is IMAGE
        assert some.to_coco(1)[0]["category_id"] == 90


def test_boxes_of_pictures_of_other_sizes_are_not_merged() -> None:
    smaller = with_image(detections(), IMAGE[:30], (30, 60), (7, 8, 90))
    with pytest.raises(ValueError, match=r"an image of \[40, 60\] \(height, width\) and of one of \[30, 60\] cannot"):
        ImageDetections.merge([detections(), smaller])  # type: ignore[list-item]


def test_masks_have_the_size_of_their_picture() -> None:
    with pytest.raises(ValueError, match=r"labels are \[4, 6\], but the image is \[6, 4\]"):
        with_image(segmentation(), IMAGE[:6, :4], (6, 4), (0, 11, 12))


def test_what_all_results_can_do_is_asked_of_each_kind_before_there_is_one() -> None:
    with pytest.raises(TypeError, match=r"abstract.*to_coco"):
        ImageResult(given=IMAGE, size=(40, 60), category_ids=(1,))  # type: ignore[abstract]


def test_a_threshold_leaves_masks_as_they_are() -> None:
    model = deeplabv3_mobilenet_v2(3, width_mult=0.35, size=(64, 64)).eval()
    strict, plain = (Predictor(model, device="cpu", threshold=threshold)(IMAGE) for threshold in (0.9, None))
    assert torch.equal(strict.labels, plain.labels)
