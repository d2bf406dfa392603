"""The functions that the commands call, called as one would in Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from mnv2dense import DataModule, Predictor, benchmark, evaluate, load_model, predict, ssdlite320_mobilenet_v2, train
from mnv2dense.data.shapes import Shapes
from mnv2dense.data.shapes.drawing import SHAPE_CLASSES
from mnv2dense.metrics.watched import Watched
from mnv2dense.training import EMA, BestAndLast
from mnv2dense.workflows import TrainingRun
from mnv2dense.workflows.training import _beside_usual
from tests.helpers.tiny import tiny_model

SIZE = (64, 64)


def shapes(split: str) -> Shapes:
    return Shapes(split=split, train_images=8, val_images=4, image_size=64)


def data(**options: Any) -> DataModule:  # noqa: ANN401
    usual = {"size": SIZE, "batch_size": 4, "max_boxes": 8, "num_workers": 0, "pin_memory": False}
    return DataModule(train=shapes("train"), val=shapes("val"), **usual | options)


class Mine(pl.Callback):
    """Only there."""

    def state_dict(self) -> dict[str, Any]:
        return {"there": True}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> TrainingRun:
    folder = tmp_path_factory.mktemp("workflows")
    (folder / "run").mkdir()
    (folder / "run" / ".metrics.json.4711.new").write_text("{")  # of one that was killed in its scoring
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNV2DENSE_CACHE", str(cache))
        batches = data()
        model = ssdlite320_mobilenet_v2(
            len(batches.class_names), class_names=batches.class_names, size=SIZE, width_mult=0.35
        )
        return train(
            model,
            batches,
            max_epochs=3,
            run_dir=folder / "run",
            accelerator="cpu",
            check_val_every_n_epoch=2,
            callbacks=[Mine()],
            enable_progress_bar=False,
        )


@pytest.fixture(autouse=True)
def here(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNV2DENSE_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)


def test_training_gives_the_best_checkpoint_with_its_scores(run: TrainingRun) -> None:
    assert run.epochs == 3
    assert run.checkpoint is not None
    assert run.model is not None
    assert run.scores == json.loads((run.folder / "metrics.json").read_text()) | {
        name: value for name, value in run.scores.items() if value != value
    }
    again = load_model(run.checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), again.parameters(), strict=True))
    for name in ("config.yaml", "environment.json", "report.html", "samples.jpg", "curves.png", "MODEL_CARD.md"):
        assert (run.folder / name).is_file(), name


def test_what_a_killed_run_left_half_written_in_the_folder_goes_away(run: TrainingRun) -> None:
    assert [path.name for path in run.folder.rglob("*.new")] == []


def test_the_last_epoch_is_validated_whatever_the_interval(run: TrainingRun) -> None:
    last = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)
    history = next(state for name, state in last["callbacks"].items() if name.startswith("History"))
    assert [epoch for epoch, _ in history["val/AP"]] == [2, 3]


def test_callbacks_of_ones_own_come_beside_the_usual_ones(run: TrainingRun) -> None:
    last = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert {name.partition("{")[0] for name in last["callbacks"]} == {"EMA", "BestAndLast", "History", "Mine"}
    assert "raw_state_dict" in last  # averaged weights beside the trained ones


@pytest.mark.parametrize(
    ("own", "wanted", "names"),
    [
        ([], None, ["EMA", "BestAndLast", "History", "ProgressLines", "NaNGuard"]),
        ([EMA(decay=0.5)], None, ["BestAndLast", "History", "ProgressLines", "NaNGuard", "EMA"]),
        ([BestAndLast()], None, ["BestAndLast"]),
        ([BestAndLast()], True, ["EMA", "History", "ProgressLines", "NaNGuard", "BestAndLast"]),
        ([Mine()], False, ["Mine"]),
        # Lightning takes one bar.
        ([pl.callbacks.TQDMProgressBar()], None, ["EMA", "BestAndLast", "History", "NaNGuard", "TQDMProgressBar"]),
    ],
)
def test_the_usual_callbacks_are_left_out_where_the_list_is_whole_or_has_their_class(
    own: list[pl.Callback], wanted: bool | None, names: list[str]
) -> None:
    chosen = _beside_usual(own, Watched("AP", "max", ("AP",), frozenset()), wanted=wanted, lines=True)
    assert [type(each).__name__ for each in chosen] == names


def test_a_run_that_is_refused_leaves_no_folder_and_gave_its_seed_to_the_data() -> None:
    model = ssdlite320_mobilenet_v2(class_names=SHAPE_CLASSES, size=SIZE, width_mult=0.35)
    for own, seed in ((None, 3), (5, 5)):
        batches = data(seed=own)
        with pytest.raises(ValueError, match="monitor=AP49"):
            train(model, batches, monitor="AP49", seed=3, run_dir="other", accelerator="cpu")
        assert batches.seed == seed
        assert not Path("other").exists()


def test_a_run_is_not_overwritten_and_a_length_is_needed(run: TrainingRun) -> None:
    model = tiny_model(6, size=SIZE)
    with pytest.raises(ValueError, match="already holds a run"):
        train(model, data(), max_epochs=1, run_dir=run.folder, accelerator="cpu")
    with pytest.raises(ValueError, match="train for at least 1 epoch"):
        train(model, data(), max_epochs=0, run_dir="other", accelerator="cpu")


@pytest.mark.parametrize(
    ("model", "data_options", "said"),
    [
        ({"class_names": SHAPE_CLASSES[::-1]}, {}, r"label 0 is '\w+' in the model and 'circle' in the"),
        ({}, {}, r"The model has 6 classes and the data 6; label 0 is '0' in the model and 'circle' in the data"),
        ({"num_classes": 3}, {}, r"The model has 3 classes and the data 6.* class_names=data\.class_names"),
        ({"class_names": SHAPE_CLASSES}, {"size": (96, 64)}, r"size=\(96, 64\), but .* size=\(64, 64\)"),
        ({"class_names": SHAPE_CLASSES}, {"resize": "letterbox"}, "resize='letterbox', but .*='squash'"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused_before_training(
    model: dict[str, Any], data_options: dict[str, Any], said: str
) -> None:
    """Labels are numbers: it all trained, and the checkpoint called circles by another class's name."""
    options: dict[str, Any] = {"num_classes": 6, "size": SIZE, "width_mult": 0.35, **model}
    with pytest.raises(ValueError, match=said):
        train(ssdlite320_mobilenet_v2(**options), data(**data_options), max_epochs=1, accelerator="cpu")


def test_evaluating_a_run_gives_its_scores_again_and_writes_only_where_asked(run: TrainingRun) -> None:
    found = evaluate(run.folder, shapes("val"), num_workers=0, batch_size=4, device="cpu")
    assert found.scores == run.scores
    assert found.folder is None
    assert not any(Path().iterdir())
    written = evaluate(run.folder, shapes("val"), num_workers=0, batch_size=4, device="cpu", run_dir="scored")
    assert written.folder is not None
    assert json.loads((written.folder / "metrics.json").read_text())["AP"] == pytest.approx(run.scores["AP"])


def test_predictions_of_a_list_of_files_and_what_could_not_be_read(run: TrainingRun) -> None:
    assert run.model is not None
    val = shapes("val")
    files = [val.path_of(val[index].image_id) for index in range(2)]
    told: list[tuple[int, int | None]] = []
    done = predict(
        Predictor(run.model, threshold=0.3, device="cpu"),
        [files[0], "nowhere.jpg", files[1]],
        run_dir="predictions",
        outputs=["drawn", "json"],
        progress=lambda count, total: told.append((count, total)),
    )
    assert (done.done, done.stopped, done.unit) == (2, False, "images")
    assert list(done.failed) == ["nowhere.jpg"]
    assert sorted(told) == [(1, 3), (2, 3), (3, 3)]
    assert (done.folder / f"{files[0].stem}.jpg").is_file()


def test_outputs_of_another_name_are_refused_before_anything_is_written(run: TrainingRun) -> None:
    assert run.model is not None
    with pytest.raises(ValueError, match=r"outputs=\['draw'\]: a list of some of drawn, labels, json, csv"):
        predict(Predictor(run.model, device="cpu"), [Path("a.jpg")], outputs=["draw"])
    assert not any(Path().iterdir())


def test_models_are_timed_in_turns(run: TrainingRun) -> None:
    (row,) = benchmark({str(run.folder): 0.5}, threads=1, rounds=1, runs=1, batch=2)
    assert row.score == 0.5
    assert row.milliseconds > 0
    assert row.kind == "torch, fp32"
    with pytest.raises(ValueError, match="rounds=0: a whole number of at least 1"):
        benchmark([run.folder], rounds=0)


def test_a_loss_that_counts_in_the_data_is_made_when_all_else_is_checked() -> None:
    def made() -> nn.Module:
        raise RuntimeError("counting")

    model = ssdlite320_mobilenet_v2(class_names=SHAPE_CLASSES, size=SIZE, width_mult=0.35)
    with pytest.raises(ValueError, match=r"monitor=AP49: there is no such score; did you mean monitor=AP\?"):
        train(model, data(), loss=made, monitor="AP49", run_dir="other", accelerator="cpu")
    with pytest.raises(RuntimeError, match="counting"):
        train(model, data(), loss=made, run_dir="another", accelerator="cpu")
