"""Limits of a run, each with what would help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mnv2dense.reporting.data_name import data_name
from mnv2dense.reporting.facts import ClassScore
from mnv2dense.reporting.limits import limits_of


class Images:
    """As many images as it is told, with their classes and boxes."""

    class_names = ("cat", "dog")
    category_ids = (1, 2)
    ignored_count = 0

    def __init__(self, count: int, boxes: tuple[int, int] = (500, 500)) -> None:
        self.count, self.box_counts = count, boxes

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401
        raise AssertionError

    def path_of(self, image_id: int) -> Path:
        raise AssertionError

    def coco_ground_truth(self) -> dict[str, Any]:
        raise AssertionError


class Module:
    def __init__(self, train: Images | None = None) -> None:
        self.train, self.val = train or Images(5000), Images(5000)


def said(module: Any = None, **options: Any) -> str:  # noqa: ANN401
    usual: dict[str, Any] = {
        "size": (320, 320),
        "scores": {"AP": 0.5},
        "score": "AP",
        "counted": "objects",
        "classes": (),
        "curves": {},
        "drawn": False,
    }
    config = options.pop("config", {"monitor": "AP", "monitor_mode": "max", "backbone": {"weights": "imagenet"}})
    return "\n".join(limits_of(config, module or Module(), **{**usual, **options}))


def curve(*values: float, name: str = "val/AP") -> dict[str, list[tuple[int, float]]]:
    return {name: [(4 * k, value) for k, value in enumerate(values, start=1)]}


def test_a_run_of_many_images_has_little_to_say() -> None:
    assert (
        said() == "The checkpoint was chosen by AP on the validation images, so its scores there flatter it a little."
    )


def test_a_score_that_still_rises_asks_for_more_epochs() -> None:
    text = said(curves=curve(0.1, 0.2, 0.3, 0.4))
    assert "AP was still rising when training ended (0.200, 0.300, 0.400 at the last validations): longer" in text
    assert "trainer.max_epochs=32" in text


@pytest.mark.parametrize("values", [(0.1, 0.4, 0.39), (0.1, 0.4, 0.401), (0.4,), (0.0008, 0.0011)])
def test_one_that_has_settled_or_fallen_does_not(values: tuple[float, ...]) -> None:
    assert "still" not in said(curves=curve(*values))


def test_a_loss_that_falls_rises_by_what_it_is_chosen_by() -> None:
    config = {"monitor": "loss", "monitor_mode": "min"}
    assert "The validation loss was still falling when" in said(config=config, curves=curve(3, 2, name="val/loss"))
    assert "still" not in said(config=config, curves=curve(2, 3, name="val/loss"))


def test_few_epochs_few_images_and_few_objects_say_what_would_help() -> None:
    text = said(
        Module(Images(30, boxes=(3, 500))), curves={"train/loss": [(1, 2.0), (2, 1.0)]}, config={"monitor": "AP"}
    )
    assert "only 2 epochs: longer training would help, as with trainer.max_epochs=20" in text
    assert "only 30 images: more would help, and a backbone that has seen others (backbone.weights=" in text
    assert "It learnt cat from fewer than 20 objects: more of them would help." in text


def test_images_are_said_to_be_those_since_a_resume_where_others_came_before(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    config = {"monitor": "AP", "resume": str(tmp_path), "data": {"train": {"root": "a", "limit": 30}}}
    for limit, since in ((30, ""), (None, " since it was resumed with other data")):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": {"train": {"root": "a", "limit": limit}}}))
        text = said(Module(Images(30, boxes=(3, 500))), config=config)
        assert f"It learnt from only 30 images{since}: more would help" in text
        assert f"It learnt cat from fewer than 20 objects{since}: more of them" in text
    assert "only 30 images: more" in said(Module(Images(30)), config={**config, "resume": str(tmp_path / "gone")})


def test_small_inputs_and_small_objects_ask_for_a_larger_one() -> None:
    text = said(size=(96, 128), scores={"AP": 0.4, "APs": 0.1})
    assert "It sees images at 96 by 128 pixels, where details are lost: a larger input would help, as with" in text
    assert (
        "misses small objects (below 32 by 32 pixels) far more often than others: a larger input (model.size=" in text
    )
    assert "model.size=[192,256]" in text


def test_classes_say_what_would_help_them() -> None:
    classes = [ClassScore("cat", 0.9, 100), ClassScore("dog", 0.1, 5), ClassScore("cow", None, 0)]
    text = said(classes=classes)
    assert "do not show cow: how well it does there is unknown until images with them are added." in text
    assert "fewer than 20 objects of dog: more would make their scores sure." in text
    assert (
        "weak on dog: AP below half of the average; more images of them would help, or a look at their labels" in text
    )


def test_one_that_hardly_works_is_not_called_weak_on_single_classes() -> None:
    classes = [ClassScore("cat", 0.004, 100), ClassScore("dog", 0.001, 100), ClassScore("cow", None, 0)]
    text = said(classes=classes, drawn=True, unfinished="1 of 9 epochs")
    assert text.startswith(
        "It hardly works: AP of the classes is 0.003 on average.\nIts training did not come to its end"
    )
    assert "weak" not in text


def test_one_that_hardly_works_is_not_said_to_miss_small_objects_above_others() -> None:
    assert "small objects" not in said(scores={"AP": 0.0005, "APs": 0.0001})


def test_data_of_ones_own_in_vocs_layout_are_not_called_by_vocs_year(tmp_path: Path) -> None:
    source = {"_target_": "mnv2dense.data.datasets.VocDetection", "year": "2007", "split": "val"}
    own, devkit = tmp_path / "cells", tmp_path / "devkit"
    (own / "ImageSets").mkdir(parents=True)
    (devkit / "VOC2007" / "ImageSets").mkdir(parents=True)
    assert data_name({**source, "root": str(own)}, Images) == "VOC val (cells)"
    assert data_name({**source, "root": str(devkit)}, Images) == "VOC 2007 val (devkit)"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (
            {"_target_": "mnv2dense.data.datasets.VocDetection", "root": "VOCdevkit", "year": "2007", "split": "val"},
            "VOC 2007 val (VOCdevkit)",
        ),
        (
            {"_target_": "mnv2dense.data.datasets.CocoDetection", "root": "/data/coco", "split": "val2017"},
            "COCO val2017",
        ),
        ({"_target_": "mnv2dense.data.datasets.ImageFolder", "root": "/data/my pets", "split": "val"}, "my pets val"),
        ({"_target_": "mnv2dense.data.datasets.YoloDetection", "root": "my_data"}, "YOLO (my_data)"),
        ({"_target_": "mnv2dense.data.shapes.Shapes", "root": None, "split": "val"}, "drawn shapes val"),
        ({"_target_": "acme.Xrays"}, "Xrays"),
        ({}, "Images"),
    ],
)
def test_a_data_set_is_called_as_people_call_it(source: dict[str, Any], name: str) -> None:
    assert data_name(source, Images) == name


def test_of_a_score_that_is_better_when_lower_no_class_is_called_weak() -> None:
    classes = (ClassScore("cat", 0.01, 500), ClassScore("dog", 0.016, 500))
    assert "hardly works" in said(score="IoU", classes=classes)
    assert "hardly works" not in said(score="error", classes=classes, falls=True)
    assert "weak" not in said(
        score="error", classes=(ClassScore("cat", 0.1, 500), ClassScore("dog", 0.9, 500)), falls=True
    )
