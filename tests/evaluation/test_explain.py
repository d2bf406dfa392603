"""How heads go wrong: what is said, written and shown of boxes, masks and classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import tensor

from mnv2dense.evaluation import box_explanation
from mnv2dense.evaluation.box_explanation import explain_boxes
from mnv2dense.evaluation.class_explanation import explain_classes
from mnv2dense.evaluation.mask_explanation import explain_masks
from mnv2dense.evaluation.pixel_calibration import _at
from mnv2dense.metrics import Accuracy, MeanIoU
from mnv2dense.metrics.calibration import calibration_of_boxes
from mnv2dense.reporting.errors import HeadErrors, calibration_sentence
from mnv2dense.types import Batch, Classification, Infos, PixelLogits, Sample, Segmentation
from tests.helpers.made_once import small_run
from tests.metrics.test_coco_map import batch_of, bound, found, truth_of

CAT, DOG = 7, 3


def grey(image_id: int) -> tuple[str, npt.NDArray[np.uint8]]:
    return f"{image_id}.jpg", np.full((120, 160, 3), 90, np.uint8)


def explained_boxes(folder: Path, cases: int = 3) -> HeadErrors:
    """Two objects found, one of another class, one missed, and a box at nothing; the right ones are the least sure."""
    metric = bound(
        truth_of(
            (0, CAT, [0, 0, 40, 40]), (0, DOG, [100, 0, 40, 40]), (1, CAT, [50, 50, 20, 20]), (1, DOG, [0, 0, 60, 60])
        )
    )
    metric.update(
        [
            found(([0, 0, 40, 40], 0.5, 0), ([100, 0, 140, 40], 0.8, 0), ([60, 60, 100, 100], 0.7, 1)),
            found(([0, 0, 60, 60], 0.45, 1)),
        ],
        batch_of(0, 1),
    )
    metric.compute()
    return explain_boxes(metric, ("cat", "dog"), folder, head="", image_of=grey, cases=cases)


def test_of_boxes_every_cause_has_its_cost_its_number_and_its_pictures(tmp_path: Path) -> None:
    explained = explained_boxes(tmp_path)
    causes = {cause.name: cause for cause in explained.causes}
    assert {name: cause.count for name, cause in causes.items()} == {
        "Cls": 1, "Loc": 0, "Both": 0, "Dupe": 0, "Bkg": 1, "Miss": 1,
    }  # fmt: skip
    assert [case.caption for case in causes["Cls"].cases] == ["cat, is dog, IoU 1.00. 0.jpg"]
    assert [case.caption for case in causes["Bkg"].cases] == ["dog, nothing there. 0.jpg"]
    assert [case.caption for case in causes["Miss"].cases] == ["cat missed. 1.jpg"]
    assert max(causes["Cls"].cases[0].picture.shape[:2]) == 320
    assert "dog taken for cat (1)" in causes["Cls"].advice
    assert "100% of the missed objects are small" in causes["Miss"].advice
    costs = [cause.cost or 0 for cause in explained.causes]
    assert costs == sorted(costs, reverse=True)
    assert not causes["Dupe"].advice
    for name in ("errors.png", "box_confusion.png"):
        with Image.open(tmp_path / name) as plot:
            assert plot.width > 400


def test_of_boxes_the_figures_are_plain_and_name_the_classes(tmp_path: Path) -> None:
    figures = json.loads(json.dumps(explained_boxes(tmp_path).figures))
    assert {"truth": "dog", "box": "cat", "count": 1} in figures["confusion"]
    assert {"truth": None, "box": "dog", "count": 1} in figures["confusion"]
    assert {"truth": "cat", "box": None, "count": 1} in figures["confusion"]
    assert figures["sizes"]["small"] == {"objects": 1, "right": 0, "other_class": 0, "false_boxes": 0}
    assert figures["classes"]["dog"]["objects"] == 2
    assert figures["classes"]["dog"]["added_AP50"]["Cls"] > 0.3
    assert figures["calibration"] is None  # of four boxes nobody can tell


def test_the_worst_cases_come_from_as_many_images_as_there_are(tmp_path: Path) -> None:
    metric = bound(truth_of((0, CAT, [0, 0, 9, 9]), (1, CAT, [0, 0, 9, 9]), images=3))
    many = [([50.0, 50.0, 60.0, 60.0], 0.9 - place / 100, 0) for place in range(3)]
    right = ([0.0, 0.0, 9.0, 9.0], 0.5, 0)
    metric.update([found(right, *many), found(right, many[2])], batch_of(0, 1))
    metric.compute()
    explained = explain_boxes(metric, ("cat", "dog"), tmp_path, head="", image_of=grey, cases=2)
    (cases,) = [cause.cases for cause in explained.causes if cause.name == "Bkg"]
    assert [case.caption for case in cases] == ["cat, nothing there. 0.jpg", "cat, nothing there. 1.jpg"]


def test_of_very_many_boxes_those_of_some_images_are_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(box_explanation, "_MOST_BOXES", 3)
    explained = explained_boxes(tmp_path)
    assert "one image in 2" in explained.sentences[1]
    assert {cause.name: cause.count for cause in explained.causes}["Miss"] == 0  # it is in the second
    assert explained.figures["sizes"]["medium"]["objects"] == 2


def test_what_cannot_be_shown_is_counted_all_the_same(tmp_path: Path) -> None:
    metric = bound(truth_of((0, CAT, [0, 0, 40, 40])))
    metric.compute()
    explained = explain_boxes(metric, ("cat", "dog"), tmp_path, head="", image_of=lambda _: None, cases=2)
    assert explained.causes[0].count == 1
    assert explained.causes[0].cases == ()


def test_a_detector_that_finds_nothing_is_told_so(tmp_path: Path) -> None:
    metric = bound(truth_of((0, CAT, [0, 0, 40, 40])))
    metric.compute()
    explained = explain_boxes(metric, ("cat", "dog"), tmp_path, head="", image_of=grey, cases=2)
    assert explained.causes[0].name == "Miss"
    assert "The costliest cause is Miss" in explained.sentences[0]
    assert "too few boxes" in explained.sentences[-1]


class Masks:
    """Two images: the left half is road, the right half sky."""

    class_names: tuple[str, ...] = ("road", "sky", "car")
    palette = None

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        raise NotImplementedError

    def path_of(self, image_id: int) -> Path:
        return Path(f"{image_id}.jpg")

    def mask_of(self, image_id: int) -> npt.NDArray[np.uint8]:
        mask = np.zeros((120, 160), np.uint8)
        mask[:, 80:] = 1
        return mask


def test_of_masks_the_outlines_share_and_the_largest_wrong_regions_are_shown(tmp_path: Path) -> None:
    data, metric = Masks(), MeanIoU()
    metric.bind(data)
    wrong = data.mask_of(0)
    wrong[20:80, 100:150] = 2
    results = {0: wrong, 1: np.roll(data.mask_of(1), 1, axis=1)}
    masks = {key: Segmentation(torch.from_numpy(labels), data.class_names) for key, labels in results.items()}
    metric.update([masks[0], masks[1]], batch_of(0, 1))
    metric.compute()
    explained = explain_masks(
        metric, data.class_names, tmp_path, head="", looked_at=lambda key: (*grey(key), masks[key]),
        truth_of=data.mask_of, calibration=None, cases=3,
    )  # fmt: skip
    assert explained is not None
    causes = {cause.name: cause for cause in explained.causes}
    assert causes["Outlines"].count == 120
    assert causes["Regions"].count == 3000 + 120  # the first column was rolled in from the other end
    assert [case.caption for case in causes["Regions"].cases] == [
        "sky taken for car, 15.6% of the image. 0.jpg",
        "road taken for sky, 0.6% of the image. 1.jpg",
    ]
    assert explained.figures["mistaken"][0] == {"truth": "sky", "taken_for": "car", "pixels": 3000}
    assert explained.figures["wrong"] == 3240
    assert [name for name, _ in explained.legend] == ["road", "sky", "car"]
    assert (tmp_path / "errors.png").exists()


def test_of_masks_without_boundaries_nothing_is_said(tmp_path: Path) -> None:
    metric = MeanIoU(boundary=False)
    metric.bind(Masks())
    metric.compute()
    masks = Segmentation(torch.zeros(1, 1, dtype=torch.uint8), Masks.class_names)
    explained = explain_masks(
        metric, Masks.class_names, tmp_path, head="", looked_at=lambda key: (*grey(key), masks),
        truth_of=Masks().mask_of, calibration=None, cases=1,
    )  # fmt: skip
    assert explained is None


class Labels(Masks):
    class_names: tuple[str, ...] = ("cat", "dog")

    def __len__(self) -> int:
        return 60


def test_of_classes_the_surest_mistakes_are_shown(tmp_path: Path) -> None:
    metric = Accuracy()
    metric.bind(Labels())
    scores = torch.linspace(0.5, 0.99, 60)
    results = [Classification(tensor([score, 1 - score]), tensor([0, 1]), Labels.class_names) for score in scores]
    infos = Infos(torch.arange(60), torch.ones(60, 2).long(), torch.ones(60, 2), torch.zeros(60, 2))
    labels = torch.zeros(60, 1, dtype=torch.int64)
    labels[[3, 50, 20]] = 1
    metric.update(results, Batch(torch.zeros(60, 3, 1, 1, dtype=torch.uint8), None, labels, None, infos))
    metric.compute()
    explained = explain_classes(metric, Labels.class_names, tmp_path, head="", image_of=grey, cases=2)
    assert [case.caption for case in explained.causes[0].cases] == [
        "dog taken for cat 0.92. 50.jpg",
        "dog taken for cat 0.67. 20.jpg",
    ]
    assert explained.figures["mistaken"] == [{"truth": "dog", "taken_for": "cat", "images": 3}]
    assert explained.figures["calibration"]["too_sure_by"] == pytest.approx(float(scores.mean()) - 57 / 60, abs=1e-5)


@pytest.mark.parametrize("align_corners", [False, True])
def test_logits_at_pixels_are_those_of_the_enlarged_map(align_corners: bool) -> None:
    logits = torch.randn(1, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    large = F.interpolate(logits, size=(33, 50), mode="bilinear", align_corners=align_corners)
    rows, columns = tensor([0, 32, 10, 17]), tensor([0, 49, 33, 2])
    made = _at(PixelLogits(logits, (33, 50)), rows, columns, align_corners=align_corners)
    torch.testing.assert_close(made, large[0][:, rows, columns].T, rtol=1e-4, atol=1e-5)


def test_what_is_said_of_scores_names_the_temperature_only_where_it_helps() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 1.5, 60_000)
    right = random.random(60_000) < 1 / (1 + np.exp(-logits))

    def said(factor: float) -> str:
        made = calibration_of_boxes(1 / (1 + np.exp(-factor * logits)), right, np.arange(60_000))
        return calibration_sentence(made, "boxes", "so")

    assert "can be read as probabilities" in said(1)
    assert "too sure on average" in said(3) or "too modest" in said(3)
    assert "a temperature of " in said(3)
    assert "nothing has been changed" in said(3)


@pytest.mark.parametrize("task", ["detection", "segmentation", "classification"])
def test_a_run_folder_says_what_went_wrong(task: str) -> None:
    folder = small_run(task).folder
    figures = json.loads((folder / "errors.json").read_text(encoding="utf-8"))
    assert "calibration" in figures
    assert (folder / "errors.png").exists()
    assert (folder / "box_confusion.png").exists() == (task == "detection")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "What went wrong" in page
    assert "what to do next" in page
