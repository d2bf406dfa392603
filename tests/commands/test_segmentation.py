"""Segmentation from end to end: train on masks, score, predict."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnv2dense import load_model
from tests.helpers.made_once import small_run
from tests.helpers.tiny import TINY, Outcome, command

pytestmark = pytest.mark.usefixtures("place")


@pytest.fixture(scope="module")
def cache() -> Path:
    """With the data of the run."""
    return small_run("segmentation").cache


@pytest.fixture(scope="module")
def trained() -> tuple[Path, Outcome]:
    run = small_run("segmentation")
    return run.folder, run.outcome


def metrics(folder: Path) -> dict[str, float]:
    return json.loads((folder / "metrics.json").read_text())  # type: ignore[no-any-return]


def test_a_run_leaves_all_that_its_folder_promises(trained: tuple[Path, Outcome]) -> None:
    run, _ = trained
    scores = metrics(run)
    assert {"mIoU", "pixel_accuracy", "mean_accuracy", "fwIoU", "boundary_IoU", "IoU/background"} <= scores.keys()
    for name in ("confusion.png", "curves.png", "samples.jpg"):
        assert (run / name).stat().st_size > 1000
    assert "class weights: " in (run / "run.log").read_text()
    assert load_model(run).class_names[0] == "background"


@pytest.mark.usefixtures("unreported")
def test_evaluating_gives_the_scores_it_ended_with(trained: tuple[Path, Outcome]) -> None:
    outcome = command("evaluate", f"checkpoint={trained[0]}", "task=segmentation", "device=cpu", "run_dir=scores")
    assert outcome.code == 0, outcome.err
    assert metrics(Path("scores")) == metrics(trained[0])


def test_predicting_gives_overlays_and_label_images(trained: tuple[Path, Outcome]) -> None:
    Path("photos").mkdir()
    Image.fromarray(np.full((40, 70, 3), 90, np.uint8)).save("photos/a.png")
    outcome = command("predict", f"checkpoint={trained[0]}", "source=photos", "run_dir=out", "device=cpu")
    assert outcome.code == 0, outcome.err
    with Image.open("out/labels/a.png") as labels:
        assert labels.mode == "P"
        assert np.asarray(labels).shape == (40, 70)
        assert np.asarray(labels).max() < 7
    (listed,) = json.loads(Path("out/predictions.json").read_text())["images"]
    assert sum(listed["shares"].values()) == pytest.approx(1, abs=1e-4)
    assert Path("out/a.jpg").is_file()


@pytest.mark.parametrize("loss", ["dice", "ohem", "pixel_cross_entropy_lovasz"])
def test_every_kind_of_loss_trains(loss: str) -> None:
    outcome = command("train", "task=segmentation", *TINY, f"loss={loss}", "run_dir=run", "trainer.fast_dev_run=true")
    assert outcome.code == 0, outcome.err


def test_an_option_of_a_loss_is_told_with_the_part_that_it_belongs_to() -> None:
    outcome = command("train", "task=segmentation", *TINY, "loss=ohem", "loss.keep=2", "run_dir=kept")
    assert outcome.code == 2
    assert outcome.err.startswith("error: loss: keep=2: a share of the pixels, 0 to 1; 1 / 16 is usual.")


def test_boxes_have_no_masks_to_learn_from() -> None:
    outcome = command(
        "train", "task=segmentation", *TINY, "data.by_task.segmentation=mnv2dense.data.shapes.detection.Shapes"
    )
    assert outcome.code == 2
    assert "Shapes has no masks to score mIoU on; choose data of masks" in outcome.err
