from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

from mnv2dense.data.datasets import ImageFolder
from mnv2dense.data.module import DataModule
from mnv2dense.evaluation.anchor_bound import anchor_bounds
from mnv2dense.evaluation.score import check_classes, score, table
from mnv2dense.metrics.coco_map import CocoMeanAP
from mnv2dense.metrics.mean_iou import MeanIoU
from mnv2dense.models.architectures import ssdlite320_mobilenet_v2
from mnv2dense.types import Infos, Sample, Segmentation


class Truth:
    """Boxes (x, y, width, height) of one image of 64 x 128 pixels (height x width)."""

    class_names = ("thing",)

    def __init__(self, boxes: list[list[float]], *, crowds: int = 0) -> None:
        self.boxes = boxes
        self.crowds = crowds
        self.category_ids = [1]
        self.box_counts = [len(boxes) - crowds]
        self.ignored_count = crowds

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        raise AssertionError("the bound reads no image")

    def path_of(self, image_id: int) -> Path:
        return Path("picture.jpg")

    def coco_ground_truth(self) -> dict[str, Any]:
        return {
            "images": [{"id": 1, "height": 64, "width": 128}],
            "annotations": [
                {"id": k + 1, "image_id": 1, "bbox": box, "iscrowd": int(k < self.crowds)}
                for k, box in enumerate(self.boxes)
            ],
            "categories": [{"id": 1, "name": "thing"}],
        }


@pytest.mark.parametrize("resize", ["squash", "letterbox"])
def test_an_object_like_an_anchor_is_met_and_one_pixel_is_not(resize: str) -> None:
    model = ssdlite320_mobilenet_v2(1, size=(64, 64), width_mult=0.35, resize=resize)  # type: ignore[arg-type]
    whole = [0.0, 0.0, 128.0, 64.0] if resize == "squash" else [32.0, 0.0, 60.0, 60.0]
    assert anchor_bounds(model, Truth([whole, [70.0, 30.0, 1.0, 1.0]])) == {"": 0.5}


def test_two_objects_in_one_place_want_two_anchors() -> None:
    model = ssdlite320_mobilenet_v2(1, size=(64, 64), width_mult=0.35)
    whole = [0.0, 0.0, 128.0, 64.0]
    bound = anchor_bounds(model, Truth([whole] * 50))[""]
    assert 0 < bound < 1  # fewer than 50 anchors are that large


def test_crowds_do_not_count() -> None:
    model = ssdlite320_mobilenet_v2(1, size=(64, 64), width_mult=0.35)
    crowd, whole = [70.0, 30.0, 1.0, 1.0], [0.0, 0.0, 128.0, 64.0]
    assert anchor_bounds(model, Truth([crowd, whole], crowds=1)) == {"": 1.0}
    assert anchor_bounds(model, Truth([crowd], crowds=1)) == {}


def test_the_table_has_a_dash_where_the_data_cannot_tell() -> None:
    made = table({"AP": 0.5, "APs": -1.0}, CocoMeanAP.headlines, title="scores")
    assert made.row_count == 2
    assert list(made.columns[1].cells) == ["0.500", "-"]


class Masks:
    """Two images with masks of their own sizes; counts how often each is read."""

    class_names = ("sky", "road")
    palette = None
    masks = (np.eye(6, 8, dtype=np.uint8), np.eye(5, 3, dtype=np.uint8))

    def __init__(self) -> None:
        self.reads = Counter[int]()

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        mask = self.mask_of(index)
        return Sample(np.zeros((*mask.shape, 3), np.uint8), None, None, mask, index, self.path_of(index))

    def path_of(self, image_id: int) -> Path:
        return Path(f"{image_id}.jpg")

    def mask_of(self, image_id: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        self.reads[image_id] += 1
        return self.masks[image_id]


class AllSky:
    device = torch.device("cpu")

    def predict(self, images: torch.Tensor, infos: Infos) -> list[Segmentation]:
        sizes = infos.sizes.tolist()
        return [Segmentation(torch.zeros(size, dtype=torch.uint8), Masks.class_names) for size in sizes]


def masks_in_batches(dataset: Masks) -> DataModule:
    return DataModule(train=dataset, val=dataset, size=(4, 4), batch_size=2, num_workers=0, pin_memory=False)


def test_masks_are_read_once_for_each_score() -> None:
    dataset = Masks()
    places: dict[int, int] = {}
    scores = score(AllSky(), masks_in_batches(dataset), MeanIoU(), places=places)  # type: ignore[arg-type]
    assert dataset.reads == {0: 1, 1: 1}
    assert {image_id: dataset[index].image_id for image_id, index in places.items()} == {0: 0, 1: 1}
    assert scores["pixel_accuracy"] == (48 - 6 + 15 - 3) / 63  # the diagonals are road


def test_scores_are_those_of_masks_that_are_asked_for() -> None:
    dataset = Masks()
    (batch,) = masks_in_batches(dataset).val_dataloader()
    results = AllSky().predict(batch.images, batch.infos)
    scores = []
    for given in (batch, batch._replace(truths=None)):
        metric = MeanIoU()
        metric.bind(dataset)
        metric.update(results, given)
        scores.append(metric.compute())
    assert scores[0] == scores[1]
    assert dataset.reads == {0: 2, 1: 2}
    (batch,) = masks_in_batches(dataset).train_dataloader()
    assert batch.truths is None  # nobody scores what is learnt from


def test_the_same_classes_in_another_order_are_refused_with_the_option_that_orders_them(tmp_path: Path) -> None:
    for name in ("cat", "sign, red"):
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "val" / name / "1.png")
    model: Any = SimpleNamespace(class_names=("sign, red", "cat"))
    folders = DataModule(train=None, val=ImageFolder(root=tmp_path, split="val"), size=(4, 4))
    with pytest.raises(ValueError, match="in another order") as refused:
        check_classes(model, folders)
    assert """set 'data.class_names=["sign, red",cat]', the model's.""" in str(refused.value)
    ordered = ImageFolder(root=tmp_path, split="val", class_names=model.class_names)
    check_classes(model, DataModule(train=None, val=ordered, size=(4, 4)))


@pytest.mark.parametrize(
    "name",
    [
        "traffic light",
        "café",
        "猫",
        "null",
        "True",
        "nan",
        'a "b"',
        "a\\b",
        'a\\"b',
        "end\\",
        "a ",
        "3d",
        "x,y",
        "it's",
    ],
)
def test_classes_of_any_name_come_back_from_the_command_line_that_orders_them(name: str) -> None:
    model: Any = SimpleNamespace(class_names=(name, "cat"))
    module: Any = SimpleNamespace(class_names=("cat", name), val=SimpleNamespace(labels_name_classes=True))
    with pytest.raises(ValueError, match="in another order: set ") as refused:
        check_classes(model, module)
    (word,) = shlex.split(str(refused.value).partition("another order: set ")[2].removesuffix(", the model's."))
    (override,) = OverridesParser.create().parse_overrides([word])
    given: Any = override.value()
    assert tuple(getattr(each, "text", each) for each in given) == model.class_names


def test_numbers_are_not_renamed_to_fit_a_model() -> None:
    model: Any = SimpleNamespace(class_names=("road", "sky"))
    with pytest.raises(ValueError, match="that the model was trained for, in their order") as refused:
        check_classes(model, masks_in_batches(Masks()))
    assert "class_names=" not in str(refused.value)
