"""Wrong labels of boxes, masks and images, from the data to suspects."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mnv2dense.doctor.held_out import Schedule
from mnv2dense.models import deeplabv3_mobilenet_v2, mobilenet_v2_classifier, points320_mobilenet_v2
from mnv2dense.types import PixelLogits, Sample
from mnv2dense.workflows import OutOfFold, wrong_labels

QUICK = OutOfFold(
    weights="shapes", parts=2, class_parts=2, size=(64, 64), crop_px=32, schedule=Schedule(1, 2), device="cpu"
)


class Scenes:
    """Twelve images of a light or a dark square on grey; of "detection", "segmentation" or "classification"."""

    class_names: tuple[str, ...] = ("dark", "light")

    def __init__(self, task: str, *, wrong: int = -1) -> None:
        self.task, self.wrong = task, wrong

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Sample:
        label = index % 2
        image = np.full((80, 96, 3), 120, np.uint8)
        left = 5 * index
        image[20:60, left : left + 40] = 255 * label
        if self.task == "classification":
            image[:] = image[40, left]
        if index == self.wrong:
            label = 1 - label
        box = [left, 20, left + 40, 60]
        boxes, mask = None, None
        labels: np.ndarray | None = np.array([label])
        if self.task == "detection":
            boxes = np.array([box], np.float32)
        elif self.task == "segmentation":
            labels, mask = None, np.full((80, 96), 255, np.uint8)
            mask[20:60, left : left + 40] = label
        return Sample(image, boxes, labels, mask, 50 + index, Path(f"{index}.png"))

    def path_of(self, image_id: int) -> Path:
        return Path(f"{image_id - 50}.png")


def test_boxes_are_searched_from_end_to_end() -> None:
    jobs: dict[str, tuple[int, int]] = {}

    def told(job: str, done: int, total: int) -> None:
        jobs[job] = (done, total)

    suspects = wrong_labels({"train": Scenes("detection")}, task="detection", options=QUICK, told=told)
    assert {"wrong class", "shifted box", "missing box"} >= {suspect.kind for suspect in suspects}
    assert jobs["looking at images"] == (12, 12)
    assert jobs["learning how boxes lie"] == (288, 288), "12 boxes, 3 views, 8 epochs, each in one fold of two"
    assert jobs["learning what classes look like"] == (4, 4)


def test_an_image_of_a_wrong_class_is_found_with_its_own_name_and_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnv2dense.doctor.suspects_of_masks.SHOWN_CLASS", 0.5)  # 24 images teach little
    splits = {"train": Scenes("classification"), "val": Scenes("classification", wrong=3)}
    suspects = wrong_labels(splits, task="classification", options=QUICK)
    assert [(one.kind, one.image, one.image_id, one.label, one.proposed) for one in suspects[:1]] == [
        ("wrong class", "3.png", 53, "dark", "light")
    ]


def test_masks_are_searched_from_end_to_end() -> None:
    suspects = wrong_labels(Scenes("segmentation"), task="segmentation", options=QUICK)
    assert {"wrong region", "missing region", "shifted mask"} >= {suspect.kind for suspect in suspects}


@pytest.mark.parametrize(
    ("task", "said"), [("joint", "task='joint': wrong labels"), ("detection", "for classification of 3 classes")]
)
def test_what_does_not_fit_is_refused(task: str, said: str) -> None:
    model = mobilenet_v2_classifier(3, width_mult=0.35)
    with pytest.raises(ValueError, match=said):
        wrong_labels(Scenes("detection"), task=task, options=QUICK, model=model)


@pytest.mark.parametrize("task", ["detection", "segmentation", "classification"])
def test_a_trained_model_judges_in_the_place_of_heads(task: str) -> None:
    makers = {
        "detection": points320_mobilenet_v2,
        "segmentation": deeplabv3_mobilenet_v2,
        "classification": mobilenet_v2_classifier,
    }
    model = makers[task](class_names=("dark", "light"), width_mult=0.35, size=(64, 64)).eval()  # type: ignore[operator]
    jobs: list[str] = []
    wrong_labels(Scenes(task), task=task, options=QUICK, model=model, told=lambda job, done, total: jobs.append(job))
    assert not {"learning what objects are", "learning how boxes lie", "learning what regions look like"} & set(jobs)
    assert jobs.count("looking at images") == 1, "one batch"


class Strips:
    """Six wide images of a light rectangle on dark, and their masks."""

    class_names: tuple[str, ...] = ("dark", "light")

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Sample:
        image, mask = np.zeros((48, 160, 3), np.uint8), np.zeros((48, 160), np.uint8)
        image[16:40, 16:64] = 255
        mask[16:40, 16:64] = 1
        return Sample(image, None, None, mask, index, Path(f"{index}.png"))

    def path_of(self, image_id: int) -> Path:
        return Path(f"{image_id}.png")


def test_masks_are_judged_where_a_model_letterboxes_their_images() -> None:
    def decoded(images: torch.Tensor) -> PixelLogits:
        bright = images.float().mean(dim=1) / 255
        return PixelLogits(torch.stack([1 - bright, bright], dim=1) * 10, (160, 160))

    judge: Any = SimpleNamespace(
        **{"name": "sees all", "task": "segmentation", "class_names": Strips.class_names, "decoded": decoded},
        **{"size": (160, 160), "resize": "letterbox", "device": torch.device("cpu")},
    )
    assert wrong_labels(Strips(), task="segmentation", options=QUICK, model=judge) == []


def test_where_memory_is_short_images_are_searched_in_parts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mnv2dense.doctor.suspects_of_masks.SHOWN_CLASS", 0.5)
    monkeypatch.setattr("mnv2dense.workflows.out_of_fold.free_megabytes", lambda: 0.3)
    splits = {"train": Scenes("classification"), "val": Scenes("classification", wrong=3)}
    jobs: dict[str, list[int]] = {}
    suspects = wrong_labels(
        *(splits,),
        task="classification",
        options=QUICK,
        told=lambda job, done, total: jobs.setdefault(job, []).append(total),
    )
    assert set(jobs["looking at images"]) == {8}, "three parts of 24 images"
    assert "24 images need 0.0 GB of memory" in caplog.text
    assert "searched in 3 parts" in caplog.text
    assert suspects[0][:3] == ("wrong class", "3.png", 53)
    assert [suspect.score for suspect in suspects] == sorted((one.score for one in suspects), reverse=True)


def test_a_group_that_would_fill_a_part_leaves_fewer_parts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mnv2dense.workflows.out_of_fold.free_megabytes", lambda: 0.3)
    splits = {"train": Scenes("classification"), "val": Scenes("classification")}
    # Eight of one film would be a third of the images, and have nobody to be judged by.
    wrong_labels(splits, task="classification", options=QUICK, groups=np.array([0] * 8 + list(range(1, 17))))
    assert "searched in 2 parts" in caplog.text
