"""Labels from a model: written by tools/predict.py, corrected, and learnt from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from mnv2dense.data.datasets import CocoDetection, VocDetection, YoloDetection
from mnv2dense.models.checkpoint import save_model
from tests.helpers.tiny import Outcome, command, random_images, tiny_model

pytestmark = pytest.mark.usefixtures("place")

READERS = {"coco": CocoDetection, "voc": VocDetection, "yolo": YoloDetection}


@pytest.fixture
def detector(place: None) -> Path:
    """A checkpoint that finds something in any noise; its classes have ids with gaps."""
    torch.manual_seed(0)
    model = tiny_model(3, size=(64, 64), score_threshold=0.05, limit=5)
    model.category_ids = (7, 9, 30)
    model.config["category_ids"] = [7, 9, 30]
    return save_model(model, "detector.ckpt")


@pytest.fixture
def photos(place: None) -> Path:
    folder = Path("photos")
    for number, name in enumerate(("a.jpg", "sub/b c.png", "sub/a.jpg")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random_images(1, (48, 80), seed=number)[0].permute(1, 2, 0).numpy()).save(folder / name)
    return folder


def predict(*options: str | Path) -> Outcome:
    return command("predict", "run_dir=out", "device=cpu", "threshold=0.05", "outputs=[json]", *options)


@pytest.mark.parametrize("to", list(READERS))
def test_boxes_become_a_data_set_that_is_read_back(to: str, detector: Path, photos: Path) -> None:
    outcome = predict(f"checkpoint={detector}", "source=photos/**/*.*", f"annotate={to}")
    assert outcome.code == 0, outcome.err
    said = json.loads(Path("out/predictions.json").read_text())
    data = READERS[to](root=Path("out") / to, split="train")
    assert len(data) == 3
    truth = data.coco_ground_truth()
    assert len(truth["annotations"]) == len(said["annotations"]) > 5
    assert [each["id"] for each in truth["categories"]] == [each["id"] for each in said["categories"]] == [7, 9, 30]
    for image in said["images"]:
        found = [row for row in said["annotations"] if row["image_id"] == image["id"]]
        own = next(path for path in data.paths if path.as_posix().endswith(image["file_name"].removeprefix("photos/")))
        place = list(data.paths).index(own)
        rows = data.objects.rows(data.objects.images == place)
        assert sorted(truth["categories"][label]["id"] for label in rows.labels.tolist()) == sorted(
            row["category_id"] for row in found
        )
        width = sorted(row["bbox"][2] for row in found)
        assert sorted(rows.boxes[:, 2].tolist()) == pytest.approx(width, abs=1.01 if to == "voc" else 0.02)


def test_coco_keeps_scores_and_labels_alone_are_for_pictures_that_are_there_already(
    detector: Path, photos: Path
) -> None:
    outcome = predict(f"checkpoint={detector}", "source=photos/a.jpg", "annotate=coco", "annotate_images=none")
    assert outcome.code == 0, outcome.err
    content = json.loads(Path("out/coco/annotations/instances_train.json").read_text())
    said = json.loads(Path("out/predictions.json").read_text())
    assert [row["score"] for row in content["annotations"]] == [row["score"] for row in said["annotations"]]
    assert [image["file_name"] for image in content["images"]] == ["a.jpg"]
    assert not Path("out/coco/images").exists()


def test_corrected_labels_are_divided_and_learnt_from(detector: Path, photos: Path) -> None:
    assert predict(f"checkpoint={detector}", "source=photos/**/*.*", "annotate=yolo").code == 0
    Path("out/yolo/labels/train/a.txt").write_text("2 0.5 0.5 0.25 0.25\n")  # somebody's correction
    words = ("data=yolo", "data.root=out/yolo", "data.val=null", "to=coco", "output=labels", "split.val=0.34")
    outcome = command("convert", *words)
    assert outcome.code == 0, outcome.err
    sets = [CocoDetection(root="labels", split=split) for split in ("train", "val")]
    assert [len(each) for each in sets] == [2, 1]
    assert all(each.category_ids == [7, 9, 30] for each in sets)
    found = {path.relative_to("labels").as_posix(): each for each in sets for path in each.paths}
    ((place, data),) = [(place, data) for place, data in found.items() if place.split("/")[2:] == ["a.jpg"]]
    rows = data.objects.rows(data.objects.images == list(data.paths).index(Path("labels") / place))
    assert rows.labels.tolist() == [2]
    assert rows.boxes.tolist() == [[30, 18, 20, 12]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("annotate=yollo",), "error: annotate=yollo: labels as coco, voc or yolo."),
        (("annotate=yolo", "annotate_images=move"), "error: annotate_images=move: copy, link or none."),
        (
            ("annotate=yolo", "output=a.parquet"),
            "error: annotate=yolo writes labels of images, output=a.parquet a table",
        ),
        (("annotate=yolo", "source=https://example.org/a.jpg"), "download https://example.org/a.jpg first."),
        (
            ("annotate=yolo", "source=webcam:0"),
            "error: annotate=yolo is of images; save a video's frames as images first.",
        ),
    ],
)
def test_slips_are_one_line(words: tuple[str, ...], message: str, detector: Path, photos: Path) -> None:
    before = set(Path().rglob("*"))
    outcome = predict(f"checkpoint={detector}", "source=photos", *words)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert set(Path().rglob("*")) == before


def test_an_export_of_cvat_is_read_whose_lists_name_the_images(photos: Path) -> None:
    for name in ("a.jpg", "b c.jpg"):
        place = Path("corrected/images/train") / name
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20)).save(place)
    label = Path("corrected/labels/train/b c.txt")
    label.parent.mkdir(parents=True)
    label.write_text("1 0.500000 0.500000 0.250000 0.200000\n")
    Path("corrected/train.txt").write_text("images/train/a.jpg\nimages/train/b c.jpg\n")
    Path("corrected/data.yaml").write_text("names:\n  0: cat\n  1: dog\npath: .\ntrain: train.txt\n")
    words = ("data=yolo", "data.root=corrected", "data.val=null", "to=yolo", "output=new", "split.val=0.5")
    outcome = command("convert", *words)
    assert outcome.code == 0, outcome.err
    assert "train: 1 images, val: 1 images" in outcome.out


def test_an_export_of_label_studio_in_coco_is_read(photos: Path) -> None:
    Path("corrected/images").mkdir(parents=True)
    images = []
    for number in range(4):
        Image.new("RGB", (40, 20)).save(f"corrected/images/{number}.jpg")
        images.append({"id": number, "file_name": f"images/{number}.jpg", "width": 40, "height": 20})
    row = {"id": 0, "image_id": 2, "category_id": 0, "bbox": [4, 4, 8, 8], "area": 64, "iscrowd": 0, "ignore": 0}
    content = {"images": images, "categories": [{"id": 0, "name": "cat"}], "annotations": [row]}
    Path("corrected/result.json").write_text(json.dumps(content))
    words = ("data=coco", "data.root=corrected", "data.annotations=result.json", "data.val=null", "to=coco")
    outcome = command("convert", *words, "output=new", "split.val=0.5", "split.by=random")
    assert outcome.code == 0, outcome.err
    sets = [CocoDetection(root="new", split=split) for split in ("train", "val")]
    assert sum(each.box_counts[0] for each in sets) == 1
    assert sorted(path.name for each in sets for path in each.paths) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
