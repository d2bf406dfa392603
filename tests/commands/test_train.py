"""The commands from end to end, and what they say to a user who mistypes."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from mnv2dense import load_model
from mnv2dense.data.shapes.detection import draw_shapes
from mnv2dense.io.reading import image_size
from tests.helpers.made_once import small_run
from tests.helpers.tiny import TINY, Outcome, command

TWELVE = {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"}


pytestmark = pytest.mark.usefixtures("place")


@pytest.fixture(scope="module")
def cache() -> Path:
    """With the data of that run."""
    return small_run("detection").cache


@pytest.fixture(scope="module")
def trained() -> tuple[Path, Outcome]:
    """One run of two epochs, which several tests look at."""
    run = small_run("detection")
    return run.folder, run.outcome


def weights(run: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    checkpoint = torch.load(run / "checkpoints" / name, weights_only=True)
    tensors: dict[str, torch.Tensor] = checkpoint["mnv2dense"]["weights"]
    return tensors


def metrics(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return content


# --- wrong options -------------------------------------------------------------------------------------------


def refused(outcome: Outcome) -> str:
    """The message, after a look at what every message has to be: alone, short, and no stack trace."""
    assert outcome.code == 2
    assert "Traceback" not in outcome.out + outcome.err
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    return outcome.err.removeprefix("error: ").strip()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["task=detektion"], "did you mean task=detection? Choose from classification, detection"),
        (["data=vok"], "did you mean data=voc? Choose from "),
        (["optimizer=adam"], "did you mean optimizer=adamw?"),
        (
            ["preset=ful"],
            "preset=ful: there is no such choice. Choose from classification_shapes, detection_shapes, full, ",
        ),
        (["experiment=nothing"], "experiment=nothing: there is no such choice"),
        (
            ["callbacks.checkpoints=null"],
            "callbacks: none of them keeps a checkpoint, so at the end there would be nothing",
        ),
        (["preset=null"], "preset=null: there is no such choice; name one. To have none, write ~preset."),
        (["~preset", "trainer.max_epochs=0"], "trainer.max_epochs=0: train for at least 1 epoch"),
        (["trainer.max_epoch=3"], "did you mean trainer.max_epochs? trainer has "),
        (["max_epochs=3"], "did you mean trainer.max_epochs?"),
        (["optimizer.learning_rate=3"], "optimizer has "),
        (["+optimizer.speed=3"], "__init__() got an unexpected keyword argument 'speed'"),
        (["+backbone.wide=3"], "backbone: mobilenet_v2() got an unexpected keyword argument 'wide'. Look at "),
        (["epochs"], "'epochs' cannot be read: options have the form key=value, as in trainer.max_epochs=50"),
        (["model.size=[64,64"], "'model.size=[64,64' cannot be read"),
        (["data=voc"], "data.root is needed: add data.root=..."),
        (["data=coco", "data.root=nowhere"], "data.root=nowhere: no such folder (looked from "),
        (["data=voc", "data.root=nowhere"], "data.root=nowhere: no such folder (looked from "),
        (["data=yolo", "data.root=nowhere"], "data.root=nowhere: no such folder (looked from "),
        (["optimizer.lr=fast"], "optimizer.lr=fast: a number is needed, as in optimizer.lr="),
        (["data.batch_size=many"], "data.batch_size=many: a number is needed, as in data.batch_size=16"),
        (["data.batch_size=0"], "data.batch_size is 0, but must be at least 1"),
        (["trainer.max_epochs=long"], "trainer.max_epochs=long: a number is needed"),
        (["trainer.max_epochs=0"], "trainer.max_epochs=0: train for at least 1 epoch"),
        (["trainer.max_epochs=-1"], "trainer.max_epochs=-1: train for at least 1 epoch"),
        (["trainer.accelerator=abacus"], "Available names are: "),
        (["seed=x"], "seed=x: a number is needed, as in seed=0"),
        (["model.size=320"], "model.size=320: give height and width, as in model.size=[320,320]"),
        (["model.size=[a,b]"], "give height and width, as in model.size=[320,320]"),
        (["model.size=[16,16]"], "both sides must be at least 32 pixels"),
        (["model.resize=stretch"], "choose one of squash, letterbox, crop"),
        (["head.scores=sigmoid"], "MultiBoxLoss is for softmax scores. Choose head.scores=softmax, or loss=focal"),
        (["loss=focal", "head.scores=softmax"], "Choose head.scores=sigmoid, or loss=multibox"),
        (
            ["head=points"],
            "PointHead gives quality scores, but MultiBoxLoss is for softmax scores. Choose head=ssdlite, or ",
        ),
        (["loss=task_aligned"], "TaskAlignedLoss is for quality scores. Choose head=points, or loss=multibox"),
        (["monitor=AP_50"], "monitor=AP_50: there is no such score; did you mean monitor=AP50? Choose from loss, AP, "),
        (["backbone.weights=nowhere"], "weights='nowhere': no such file or folder (looked at "),
        (["backbone._target_=os.system"], "backbone._target_='os.system' is refused"),
        (["resume=nowhere"], "'nowhere' does not exist (looked at "),
        (["init_from=nowhere"], "Give a run folder such as runs/detection/"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_option_gets_one_message_with_the_fix(arguments: list[str], expected: str) -> None:
    own = {argument.partition("=")[0] for argument in arguments}
    tiny = [] if "data" in own else [option for option in TINY if option.partition("=")[0] not in own]
    assert expected in refused(command("train", *tiny, *arguments))
    assert not any(Path("runs").glob("*/*"))  # nothing that looks like a run


def test_a_run_dir_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is a file; set run_dir= to a folder" in refused(command("train", *TINY, "run_dir=file"))


def test_a_run_is_not_overwritten(trained: tuple[Path, Outcome]) -> None:
    run, _ = trained
    before = (run / "config.yaml").read_bytes()
    for name in ("train", "evaluate", "predict"):
        options = TINY if name == "train" else (f"checkpoint={run}",)
        source = [f"source={run}/samples.jpg"] if name == "predict" else []
        said = refused(command(name, *options, *source, f"run_dir={run}"))
        assert "already holds a run, which would be overwritten. Name another folder" in said
    assert (run / "config.yaml").read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_run_dir_that_may_not_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "set another run_dir=" in refused(command("train", *TINY, "run_dir=closed/run"))


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("evaluate", [], "checkpoint is needed: add checkpoint=..."),
        ("evaluate", ["checkpoint=nowhere"], "'nowhere' does not exist (looked at "),
        ("evaluate", ["checkpoint=."], "holds no checkpoints/best.ckpt or checkpoints/last.ckpt"),
        ("evaluate", ["checkpoint={run}", "data=cocoo"], "did you mean data=coco?"),
        ("evaluate", ["checkpoint={run}", "data=voc"], "data.root is needed: add data.root=..."),
        ("evaluate", ["checkpoint={run}", "device=gpu"], "device='gpu' is no device of torch; try cpu"),
        ("evaluate", ["checkpoint={run}", "treshold=0.3"], "treshold: there is no such option"),
        ("predict", ["checkpoint={run}"], "source is needed: add source=..."),
        ("predict", ["checkpoint=nowhere", "source={run}/samples.jpg"], "'nowhere' does not exist (looked at "),
        ("predict", ["checkpoint={run}", "source=nowhere"], "source=nowhere: no such file or folder (looked at "),
        ("predict", ["checkpoint={run}", "source=."], "source=.: the folder holds no images"),
        ("predict", ["checkpoint={run}", "source=.", "treshold=0.3"], "did you mean threshold?"),
        ("predict", ["checkpoint={run}", "source={run}", "threshold=30"], "threshold=30: scores lie between 0 and 1"),
        ("predict", ["checkpoint={run}", "source={run}", "threshold=high"], "threshold=high: a number is needed"),
    ],
)
def test_the_other_commands_explain_themselves_too(
    trained: tuple[Path, Outcome], name: str, arguments: list[str], expected: str
) -> None:
    filled = [argument.format(run=trained[0]) for argument in arguments]
    assert expected in refused(command(name, *filled))


def test_a_stack_trace_is_kept_in_the_log_of_a_folder_that_was_there_and_a_new_one_goes() -> None:
    Path("run").mkdir()
    for name in ("run", "new"):
        refused(command("train", *TINY, "model.size=[16,16]", f"run_dir={name}"))
    assert "Traceback" in Path("run/run.log").read_text()
    assert not Path("new").exists()


def test_a_score_on_data_of_other_classes_is_refused(trained: tuple[Path, Outcome], tmp_path: Path) -> None:
    data = draw_shapes(tmp_path / "data", train=1, val=1, size=64)
    file = data / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    content["categories"][0]["name"] = "sphere"
    file.write_text(json.dumps(content))
    said = refused(
        command("evaluate", f"checkpoint={trained[0]}", "data=coco", f"data.root={data}", "data.val_split=val")
    )
    assert "The model knows 6 classes (circle, " in said
    assert "the data has 6 (sphere, " in said


# --- from end to end -----------------------------------------------------------------------------------------


def test_a_run_leaves_all_that_its_folder_promises(trained: tuple[Path, Outcome]) -> None:
    run, outcome = trained
    assert outcome.out.rstrip().splitlines()[-1] == str(run)
    scores = metrics(run)
    per_class = {name for name in scores if name.startswith("AP/")}
    assert TWELVE | per_class == scores.keys()
    assert per_class
    for checkpoint in ("best.ckpt", "last.ckpt"):
        assert torch.load(run / "checkpoints" / checkpoint, weights_only=True)["mnv2dense"]["format"] == 1
    for image in ("curves.png", "precision_recall.png", "thresholds.png", "samples.jpg"):
        assert np.asarray(Image.open(run / image).convert("L")).std() > 1
    assert yaml.safe_load((run / "config.yaml").read_text())["backbone"]["width_mult"] == 0.35
    assert json.loads((run / "environment.json").read_text())["seed"] == 0
    log = (run / "run.log").read_text()
    for said in ("reading the data and building the model", "16 train images", "scoring 8 images on cpu"):
        assert said in log
    assert "train/loss" in (run / "csv" / "metrics.csv").read_text().splitlines()[0]
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))


def test_the_first_word_is_of_the_quick_default_and_its_opposite(trained: tuple[Path, Outcome]) -> None:
    log = (trained[0] / "run.log").read_text()
    assert "preset=full trains the paper's model, width 1.0 at its own size" in log


def test_evaluating_a_run_gives_the_scores_it_ended_with(
    trained: tuple[Path, Outcome], caplog: pytest.LogCaptureFixture
) -> None:
    run, _ = trained
    outcome = command("evaluate", f"checkpoint={run}", "device=cpu", "run_dir=evaluated")
    assert outcome.code == 0, outcome.err
    assert caplog.text.index(f"loading {run}\n") < caplog.text.index("scoring 8 images on cpu\n")
    assert outcome.out.rstrip().splitlines()[-1] == "evaluated"
    assert metrics(Path("evaluated")) == metrics(run)
    assert Path("evaluated/samples.jpg").is_file()
    assert not Path("evaluated/checkpoints").exists()


@pytest.mark.usefixtures("unreported")
def test_the_same_data_named_anew_gives_the_same_scores(trained: tuple[Path, Outcome], cache: Path) -> None:
    run, _ = trained
    (drawn,) = cache.iterdir()
    data = ("data=coco", f"data.root={drawn}", "data.val_split=val", "batch_size=8", "num_workers=0")
    outcome = command("evaluate", f"checkpoint={run}/checkpoints/best.ckpt", *data, "device=cpu", "run_dir=evaluated")
    assert outcome.code == 0, outcome.err
    assert metrics(Path("evaluated")) == metrics(run)


def test_predictions_of_a_folder_go_on_past_a_broken_image(
    trained: tuple[Path, Outcome], caplog: pytest.LogCaptureFixture
) -> None:
    source = Path("photos")
    source.mkdir()
    for number, size in enumerate([(80, 60), (50, 90)]):
        Image.new("RGB", size, (30 * number, 90, 200)).save(source / f"photo{number}.png")
    (source / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and then nothing")
    (source / "notes.txt").write_text("not an image")
    outcome = command("predict", f"checkpoint={trained[0]}", "source=photos", "threshold=0.001", "run_dir=predicted")
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
    assert "1 of 3 images could not be read:\nphotos/broken.jpg: damaged" in outcome.err
    assert "predicting 3 images on cpu\n" in caplog.text
    assert outcome.out.rstrip().splitlines()[-1] == "predicted"
    assert {path.name for path in Path("predicted").glob("*.jpg")} == {"photo0.jpg", "photo1.jpg"}

    content = json.loads(Path("predicted/predictions.json").read_text())
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    assert sorted(image["file_name"] for image in content["images"]) == ["photo0.png", "photo1.png"]
    assert sorted(sizes.values()) == [(50, 90), (80, 60)]
    assert [category["name"] for category in content["categories"]] == list(load_model(trained[0]).class_names)
    ids = {category["id"] for category in content["categories"]}
    assert content["annotations"]
    assert len({found["id"] for found in content["annotations"]}) == len(content["annotations"])
    for found in content["annotations"]:
        left, top, width, height = found["bbox"]
        picture = sizes[found["image_id"]]
        assert found["category_id"] in ids
        assert 0 <= found["score"] <= 1
        assert min(left, top, width, height) >= 0
        assert left + width <= picture[0] + 0.02
        assert top + height <= picture[1] + 0.02


def test_one_image_can_be_predicted(trained: tuple[Path, Outcome]) -> None:
    Image.new("RGB", (40, 40), (250, 90, 0)).save("one.png")
    outcome = command("predict", f"checkpoint={trained[0]}/checkpoints/last.ckpt", "source=one.png", "run_dir=out")
    assert outcome.code == 0, outcome.err
    assert image_size("out/one.jpg") == (40, 40)


@pytest.mark.usefixtures("unreported")
def test_a_run_goes_on_where_it_stopped(trained: tuple[Path, Outcome]) -> None:
    run, _ = trained
    outcome = command("train", *TINY, "trainer.max_epochs=3", f"resume={run}", "run_dir=more")
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("epoch 3/3") == 1
    assert "progress: epoch 3/3  loss " in Path("more/run.log").read_text()
    assert "epoch 2/3" not in outcome.out
    said = Path("more/run.log").read_text()
    assert "The schedule spans 6 optimiser steps now, 4 before: after 4 of them the learning rate goes on at" in said
    last = torch.load("more/checkpoints/last.ckpt", weights_only=True)
    assert last["epoch"] == 2
    assert {state["total_steps"] for state in last["lr_schedulers"][0]["lr_lambdas"]} == {6}
    with Path("more/csv/metrics.csv").open(newline="") as file:
        rates = [float(row["train/lr"]) for row in csv.DictReader(file) if row["train/lr"]]
    assert min(rates) > 0  # it used to train at the rate that the old length ends with
    before, after = weights(run), weights(Path("more"))
    assert not all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow
@pytest.mark.usefixtures("unreported")
def test_a_run_with_nothing_left_to_train_says_so_and_is_scored_in_the_new_folder(
    trained: tuple[Path, Outcome],
) -> None:
    run, _ = trained
    outcome = command("train", *TINY, "trainer.max_epochs=2", f"resume={run}", "run_dir=again")
    assert outcome.code == 0, outcome.err
    said = Path("again/run.log").read_text()
    assert f"resume={run}: all 2 epochs are done, so nothing is trained and its best checkpoint is scored" in said
    assert "set trainer.max_epochs=3 or more" in said
    assert metrics(Path("again")) == metrics(run)
    shorter = refused(command("train", *TINY, f"resume={run}", "run_dir=shorter"))
    assert "2 epochs are done, more than trainer.max_epochs=1" in shorter


def test_options_that_a_run_cannot_go_on_with_leave_its_folder_as_it_was(trained: tuple[Path, Outcome]) -> None:
    """In its own folder, where config.yaml tells the options to go on with, and csv has the curves."""
    shutil.copytree(trained[0], "run")
    before = [Path("run", name).read_text() for name in ("config.yaml", "environment.json")]
    said = refused(command("train", *TINY, "trainer.max_epochs=3", "optimizer=sgd", "resume=run", "run_dir=run"))
    assert "its optimizer is AdamW, not SGD" in said
    assert "Give the options of that run (run/config.yaml has them), or begin a new one with init_from=run." in said
    assert [Path("run", name).read_text() for name in ("config.yaml", "environment.json")] == before
    assert [path.name for path in Path("run").glob("csv*")] == ["csv"]


def test_a_run_of_another_model_cannot_go_on(trained: tuple[Path, Outcome]) -> None:
    said = refused(command("train", *TINY, "backbone.width_mult=0.5", f"resume={trained[0]}"))
    assert "its model is another one" in said
    assert f"begin a new one with init_from={trained[0]}" in said


@pytest.mark.slow
@pytest.mark.usefixtures("unreported")
def test_a_run_may_begin_with_the_weights_of_another(trained: tuple[Path, Outcome]) -> None:
    run, _ = trained
    # A learning rate of nothing and no averaging of statistics: what it ends with is what it began with.
    still = ("optimizer.lr=0.0", "optimizer.weight_decay=0.0")
    outcome = command("train", *TINY, *still, f"init_from={run}", "run_dir=new")
    assert outcome.code == 0, outcome.err
    assert torch.load("new/checkpoints/last.ckpt", weights_only=True)["epoch"] == 0
    begun, source = weights(Path("new")), weights(run, "best.ckpt")
    assert all(torch.equal(begun[name], source[name]) for name in source if name.endswith("weight"))
    names = load_model(run).class_names
    assert f"classes {', '.join(names)} kept" in Path("new/run.log").read_text()


@pytest.mark.usefixtures("unreported")
def test_the_same_seed_gives_the_same_weights_to_the_bit(trained: tuple[Path, Outcome]) -> None:
    run, _ = trained
    outcome = command("train", *TINY, "trainer.max_epochs=2", "run_dir=again")
    assert outcome.code == 0, outcome.err
    first, again = weights(run), weights(Path("again"))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert metrics(Path("again")) == metrics(run)


def test_a_loss_that_is_not_finite_stops_the_run_naming_the_images(cache: Path) -> None:
    outcome = command("train", *TINY, "optimizer=sgd", "optimizer.lr=nan", "run_dir=run")
    assert outcome.code == 2
    assert "Traceback" not in outcome.out + outcome.err
    assert "the loss is not finite at step " in outcome.err
    (drawn,) = cache.iterdir()
    assert f"{drawn}/train/0000" in outcome.err
    assert "lower the learning rate" in outcome.err
    assert not Path("run/checkpoints/last.ckpt").exists()


def test_a_box_without_end_is_found_before_training(tmp_path: Path) -> None:
    data = draw_shapes(tmp_path / "data", train=2, val=1, size=64)
    file = data / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["bbox"][2] = float("inf")
    file.write_text(json.dumps(content))
    tiny = [option for option in TINY if "_images" not in option]
    said = refused(
        command("train", *tiny, "data=coco", f"data.root={data}", "data.train_split=train", "data.val_split=val")
    )
    assert f"{file}" in said


@pytest.mark.parametrize(
    "options", [["loss=focal"], ["optimizer=adamw", "schedule=step"], ["callbacks=freeze_backbone", "augment=none"]]
)
def test_a_quick_look_whether_the_parts_work_together_keeps_nothing(options: list[str]) -> None:
    outcome = command("train", *TINY, *options, "trainer.fast_dev_run=true", "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert outcome.out.rstrip().splitlines()[-1] == "run"
    assert not Path("run/checkpoints").exists()
