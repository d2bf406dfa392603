"""What is said of a run, beyond what tests/reporting/test_report.py sees on its page."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mnv2dense.data.datasets import ImageFolder
from mnv2dense.data.module import DataModule
from mnv2dense.data.shapes import ShapeCrops
from mnv2dense.metrics import Accuracy
from mnv2dense.metrics.image_ranking import ImageRanking
from mnv2dense.models.architectures import mobilenet_v2_classifier
from mnv2dense.models.checkpoint import model_entry
from mnv2dense.models.dense_model import build_model
from mnv2dense.protocols import Dataset
from mnv2dense.reporting.facts import RunFacts, _cost_rows, _statistics, facts_of
from mnv2dense.reporting.report import write_report
from mnv2dense.reporting.run_folder import RunFolder
from mnv2dense.reporting.unfinished import epochs_done
from mnv2dense.runtimes.formats import files_of
from mnv2dense.training.resuming import RUN
from mnv2dense.visualization.draw import save_image


class ShapeNet(ImageFolder):  # type: ignore[misc]  # final; this stands for somebody else's data set
    """In ``acme.shapenet``, say."""


def facts(data: Dataset, target: str, folder: Path, **config: str) -> RunFacts:
    return _said(data, {"data": {"val": {"_target_": target}}, "trainer": {}, "monitor": "top1", **config}, folder)


def scored(data: Dataset, checkpoint: str, folder: Path) -> RunFacts:
    """Of an evaluation."""
    return _said(data, {"checkpoint": checkpoint}, folder)


def _said(data: Dataset, config: dict[str, Any], folder: Path) -> RunFacts:
    run = RunFolder(folder)
    run.write_config(config)
    run.write_environment()
    model = mobilenet_v2_classifier(class_names=data.class_names, width_mult=0.35, size=(32, 32))
    module = DataModule(train=None, val=data, size=model.size, batch_size=1, num_workers=0)
    metric = Accuracy()
    metric.bind(data)
    return facts_of(folder, model=model, datamodule=module, metric=metric, scores={"top1": 0.5}, ranking=ImageRanking())


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    for name in ("chair", "table"):
        (tmp_path / "photos" / "val" / name).mkdir(parents=True)
        save_image(np.zeros((8, 8, 3), np.uint8), tmp_path / "photos" / "val" / name / "0.png")
    return tmp_path / "photos"


def test_data_whose_address_only_sounds_like_the_drawn_shapes_are_photographs(
    photographs: Path, tmp_path: Path
) -> None:
    said = facts(ShapeNet(root=photographs, split="val"), "acme.shapenet.ShapeNet", tmp_path / "run")
    assert not said.drawn_data
    assert said.license == "unknown"
    assert not [limit for limit in said.limits if "drawn shapes" in limit]


def test_weights_have_the_licence_that_their_maker_gave_them(photographs: Path, tmp_path: Path) -> None:
    data = ImageFolder(root=photographs, split="val")
    said = facts(data, "mnv2dense.data.datasets.ImageFolder", tmp_path / "run", license="cc-by-4.0")
    assert said.license == "cc-by-4.0"


def test_drawn_shapes_are_called_so(tmp_path: Path) -> None:
    data = ShapeCrops(root=tmp_path / "shapes", split="val", train_images=1, val_images=2)
    said = facts(data, "mnv2dense.data.shapes.ShapeCrops", tmp_path / "run")
    assert said.drawn_data
    assert said.license == "apache-2.0"
    assert said.limits[0].startswith("The images are drawn shapes")


def test_an_openvino_model_is_as_large_as_its_two_files(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_bytes(bytes(100_000))
    (tmp_path / "model.bin").write_bytes(bytes(4_000_000))
    model = SimpleNamespace(files=files_of(tmp_path / "model.xml"))
    assert _cost_rows(model, str(tmp_path / "model.xml")) == [("file", "4.1 MB")]


def test_a_run_that_was_stopped_says_how_far_it_came(photographs: Path, tmp_path: Path) -> None:
    data = ImageFolder(root=photographs, split="val")
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").touch()
    model = mobilenet_v2_classifier(class_names=data.class_names, width_mult=0.35, size=(32, 32))
    for name, epoch in (("best.ckpt", 2), ("last.ckpt", 3)):
        content = {"mnv2dense": model_entry(model), RUN: {"max_epochs": 7}}
        place = {"callbacks": {"BestAndLast": {"epoch": epoch, "batches": 5}}}
        torch.save({**content, **place}, run / "checkpoints" / name)
    assert epochs_done(run) == epochs_done(run / "checkpoints" / "best.ckpt") == (3, 7)
    said = scored(data, str(run), tmp_path / "scores")
    assert said.unfinished == "3 of 7 epochs"
    assert said.limits[0].startswith(
        "Its training did not come to its end, 3 of 7 epochs were done: going on would help"
    )
    write_report(tmp_path / "scores", said)
    for name in ("report.html", "MODEL_CARD.md"):
        top, _, _ = (tmp_path / "scores" / name).read_text(encoding="utf-8").partition("Known limits")
        assert "Its training did not come to its end: 3 of 7 epochs were done." in top
    (run / "metrics.json").touch()  # early stopping ends a run as well
    assert epochs_done(run) is None


def test_of_a_model_alone_nobody_knows_how_far_it_came(tmp_path: Path) -> None:
    assert epochs_done("shapes") is None
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").touch()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"damaged")
    assert epochs_done(tmp_path) is None


def test_statistics_that_never_arrived_in_a_short_run_are_among_its_limits() -> None:
    config = mobilenet_v2_classifier(2, width_mult=0.35, size=(32, 32)).config
    model = build_model(config | {"backbone": config["backbone"] | {"norm_momentum": 0.003}}).eval()
    assert _statistics({"callbacks": {"ema": None}}, model) == ""  # it has learnt nothing yet
    for name, buffer in model.named_buffers():
        if name.endswith("num_batches_tracked"):
            buffer.fill_(100)
    said = _statistics({"callbacks": {"ema": None}}, model)
    assert "after the 100 batches of this run 74% of what they begin with is left" in said
    held = {"callbacks": {"freeze": {"_target_": "mnv2dense.training.Freeze"}}}
    assert _statistics(held, model) == ""
