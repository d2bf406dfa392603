"""Classification from end to end: train on folders, score, predict, and hand the backbone to a detector."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from mnv2dense import load_model
from mnv2dense.data.datasets.voc import VocDetection
from mnv2dense.data.shapes.classification import ShapeCrops
from tests.helpers.tiny import TINY, Outcome, command

SMALL = ("task=classification", *(option for option in TINY if not option.startswith("data.")), "data.num_workers=0")


pytestmark = pytest.mark.usefixtures("place")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of shapes as files: two classes, eight images each to train on, four to score on."""
    root = tmp_path_factory.mktemp("folders")
    for split, count in (("train", 8), ("val", 4)):
        data = ShapeCrops(split=split, root=root.parent / "shapes", train_images=40, val_images=30)
        written = dict.fromkeys(("circle", "star"), 0)
        for sample in data:  # type: ignore[attr-defined]  # __getitem__ makes it iterable
            name = data.class_names[int(sample.labels[0])]
            if written.get(name, count) < count:
                path = root / split / name / f"{written[name]}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(sample.image).save(path)
                written[name] += 1
    return root


@pytest.fixture(scope="module")
def trained(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    run = tmp_path_factory.mktemp("runs") / "run"
    outcome = command(
        "train", *SMALL, "data=image_folder", f"data.root={folders}", "data.batch_size=4", f"run_dir={run}"
    )
    assert outcome.code == 0, outcome.err
    return run, outcome


def metrics(folder: Path) -> dict[str, float]:
    return json.loads((folder / "metrics.json").read_text())  # type: ignore[no-any-return]


def test_a_run_leaves_all_that_its_folder_promises(trained: tuple[Path, Outcome]) -> None:
    run, outcome = trained
    assert "2 classes, 16 train images, 8 val images" in outcome.out + (run / "run.log").read_text()
    assert metrics(run).keys() == {"top1", "mean_class_accuracy", "top1/circle", "top1/star"}
    for name in ("confusion.png", "curves.png", "samples.jpg", "classifications.json"):
        assert (run / name).stat().st_size > 300
    model = load_model(run)
    assert model.class_names == ("circle", "star")
    assert model.resize == "crop"


@pytest.mark.usefixtures("unreported")
def test_evaluating_gives_the_scores_it_ended_with(trained: tuple[Path, Outcome]) -> None:
    outcome = command("evaluate", f"checkpoint={trained[0]}", "device=cpu", "run_dir=scores", "task=classification")
    assert outcome.code == 0, outcome.err
    assert metrics(Path("scores")) == metrics(trained[0])


def test_another_task_than_the_checkpoints_is_refused(trained: tuple[Path, Outcome]) -> None:
    outcome = command("evaluate", f"checkpoint={trained[0]}", "task=detection")
    assert outcome.code == 2
    assert "is for classification; leave task= out" in outcome.err


def test_predicting_lists_the_likeliest_classes(trained: tuple[Path, Outcome], folders: Path) -> None:
    source = folders / "val" / "star"
    outcome = command(
        "predict", f"checkpoint={trained[0]}", f"source={source}", "run_dir=out", "device=cpu", "threshold=0"
    )
    assert outcome.code == 0, outcome.err
    listed = json.loads(Path("out/predictions.json").read_text())["images"]
    assert len(listed) == 4
    for image in listed:
        assert {row["name"] for row in image["classes"]} == {"circle", "star"}
        assert sum(row["score"] for row in image["classes"]) == pytest.approx(1, abs=1e-4)
        assert (Path("out") / image["file_name"]).with_suffix(".jpg").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("unreported")
def test_a_detector_begins_with_the_backbone_of_a_classifier(trained: tuple[Path, Outcome]) -> None:
    run, _ = trained
    small = [option for option in TINY if "width_mult" not in option]
    outcome = command("train", *small, "task=detection", f"backbone.weights={run}", "backbone.width_mult=null",
                      "optimizer.lr=0", "run_dir=detector")  # fmt: skip
    assert outcome.code == 0, outcome.err
    ours, theirs = load_model("detector").backbone.state_dict(), load_model(run).backbone.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(ours[name], theirs[name]), name
    assert yaml.safe_load(Path("detector/config.yaml").read_text())["backbone"]["weights"] == str(run)


@pytest.mark.usefixtures("unreported")
def test_shapes_are_classified_by_their_crops() -> None:
    outcome = command("train", "task=classification", *TINY, "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert metrics(Path("run")).keys() >= {"top1", "top5", "mean_class_accuracy"}
    assert "This is the quick default for data=shapes: width 0.35 at 64x64" in Path("run/run.log").read_text()
    assert command("evaluate", "checkpoint=run", "run_dir=scores", "device=cpu").code == 0
    assert metrics(Path("scores")) == metrics(Path("run"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["data=shapes", "preset=full", "augment=ssd"], "augment=ssd is for boxes, and the data has none"),
        (["data=image_folder", "data.root=nowhere"], "nowhere/train: no such folder"),
        (["data=image_folder", "data.root=empty"], "holds no folders; each class needs one"),
        (["data=shapes", "monitor=AP"], "monitor=AP: there is no such score"),
    ],
)
def test_a_mistake_gets_one_message_with_the_fix(arguments: list[str], expected: str) -> None:
    Path("empty/train").mkdir(parents=True)
    shapes = [option for option in TINY if option.startswith("data.") and "num_workers" not in option]
    extra = shapes if "data=shapes" in arguments else []
    outcome = command("train", *SMALL, *extra, *arguments, "run_dir=run")
    assert outcome.code == 2
    assert expected in outcome.err
    assert "Traceback" not in outcome.err
    shutil.rmtree("empty")


@pytest.mark.slow
@pytest.mark.usefixtures("unreported")
def test_imagenet_weights_learn_a_folder_of_crops_in_a_few_epochs(shared: Path) -> None:
    wanted = {"cat": 20, "car": 20, "person": 20, "bird": 20}
    for split, share in (("train", 1.0), ("val", 0.5)):
        data = VocDetection(root=shared / "data" / "VOCdevkit", split=split)
        left = {name: int(count * share) for name, count in wanted.items()}
        for sample in data:  # type: ignore[attr-defined]  # __getitem__ makes it iterable
            for number, (box, label) in enumerate(zip(sample.boxes.astype(int), sample.labels, strict=True)):
                name = data.class_names[label] if label >= 0 else ""
                if left.get(name, 0) and min(box[2:] - box[:2]) >= 60:
                    left[name] -= 1
                    path = Path("crops", split, name, f"{sample.image_id}_{number}.jpg")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(sample.image[box[1] : box[3], box[0] : box[2]]).save(path)
    weights = shared / "weights" / "mobilenet_v2_1.0_224"
    outcome = command("train", "experiment=finetune_classifier", "data.root=crops", f"backbone.weights={weights}",
                      "model.size=[96,96]", "trainer.max_epochs=4", "trainer.check_val_every_n_epoch=4",
                      "trainer.accelerator=cpu", "data.num_workers=0", "data.batch_size=16", "run_dir=run")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert metrics(Path("run"))["top1"] > 0.75  # a quarter would be chance
