"""Boxes and masks at once through the commands: trained, scored, resumed, reported, predicting."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from mnv2dense import Predictor, load_model
from mnv2dense.data.shapes import draw_shapes
from tests.helpers.tiny import TINY, command

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("place")

JOINT = ("task=joint", *TINY, "backbone.weights=null")

SMALL = ("trainer.accelerator=cpu", "trainer.max_epochs=1", "data.batch_size=4", "data.num_workers=0",
         "backbone.width_mult=0.35", "model.size=[64,64]", "recipe=null")  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """The folder of a run of one epoch, to be looked at."""
    folder = tmp_path_factory.mktemp("joint") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNV2DENSE_CACHE", str(cache))
        outcome = command("train", *JOINT, f"run_dir={folder}")
    assert outcome.code == 0, outcome.err
    return folder


@pytest.mark.slow
def test_it_goes_the_way_that_one_head_goes(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    shutil.copytree(trained, "run")
    scores = json.loads(Path("run/metrics.json").read_text())
    assert scores["mean"] == pytest.approx((scores["boxes/AP"] + scores["masks/mIoU"]) / 2)
    assert {"boxes/AP50", "masks/pixel_accuracy"} <= scores.keys()
    columns = next(Path("run/csv").rglob("metrics.csv")).read_text().splitlines()[0].split(",")
    assert {"train/boxes/box", "train/masks/cross_entropy", "val/boxes/AP"} <= set(columns)
    report = Path("run/report.html").read_text(encoding="utf-8")
    assert "boxes/circle" in report
    assert "masks/background" in report
    assert Path("run/samples.jpg").exists()
    assert Path("run/boxes/precision_recall.png").exists()
    assert Path("run/boxes/thresholds.json").exists()
    assert Path("run/masks/confusion.png").exists()
    page = Path("run/report.html").read_text(encoding="utf-8")
    for name in ("boxes", "masks"):
        assert Path("run", name, "errors.json").exists()
        assert f"What went wrong: {name}" in page

    resumed = command("train", *JOINT, "trainer.max_epochs=2", "run_dir=run", "resume=run")
    assert resumed.code == 0, resumed.err
    assert "epoch 2/2" in resumed.out
    scored = command("evaluate", "checkpoint=run", "run_dir=scored")
    assert scored.code == 0, scored.err
    again = json.loads(Path("scored/metrics.json").read_text())
    assert again == json.loads(Path("run/metrics.json").read_text())

    image = next(Path("run").glob("samples.jpg"))
    predicted = command("predict", "checkpoint=run", f"source={image}", "threshold=0.01", "run_dir=found")
    assert predicted.code == 0, predicted.err
    assert "  boxes/" in caplog.text
    content = json.loads(Path("found/predictions.json").read_text())
    assert set(content["images"][0]["masks"]["shares"]) <= {
        "background",
        "circle",
        "square",
        "triangle",
        "star",
        "cross",
        "ring",
    }
    lines = Path("found/predictions.csv").read_text().splitlines()
    assert lines[0] == "file_name,frame,time,label,name,score,left,top,right,bottom,share"
    assert any(",masks/background," in line for line in lines)
    assert Path("found/labels/samples.png").exists()

    found = Predictor("run", threshold=0.0)(image)
    with Image.open(image) as opened:
        width, height = opened.size
    assert found["masks"].labels.shape == (height, width)
    assert found.to_dict()["parts"]["boxes"]["task"] == "detection"
    assert {"bbox", "segmentation"} <= {key for entry in found.to_coco(1) for key in entry}
    assert found.plot().size == (width, height)


@pytest.mark.slow
@pytest.mark.usefixtures("unreported")
def test_a_frozen_head_on_a_frozen_backbone_answers_as_before(trained: Path) -> None:
    words = ("callbacks=freeze_backbone", "callbacks.freeze.heads=[boxes]", f"init_from={trained}")
    second = command("train", *JOINT, *words, "trainer.max_epochs=2", "run_dir=second")
    assert second.code == 0, second.err
    before, after = (load_model(each) for each in (trained, "second"))
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(before.decoded(images)["boxes"].scores, after.decoded(images)["boxes"].scores)
    assert torch.equal(before.decoded(images)["boxes"].boxes, after.decoded(images)["boxes"].boxes)
    assert not torch.equal(before.decoded(images)["masks"].logits, after.decoded(images)["masks"].logits)
    wrong = command("train", *JOINT, "callbacks=freeze_backbone", "callbacks.freeze.heads=[cars]", "run_dir=third")
    assert wrong.code == 2
    assert "there is no 'cars'; the heads are boxes, masks." in wrong.err


@pytest.mark.usefixtures("unreported")
def test_heads_and_scores_are_chosen_by_their_names() -> None:
    words = ("head@head.parts.boxes=points", "loss@loss.parts.boxes=task_aligned", "head.parts.boxes.channels=16")
    trained = command("train", *JOINT, *words, "loss.weights=uncertainty", "monitor=masks/mIoU", "run_dir=run")
    assert trained.code == 0, trained.err
    log = Path("run/run.log").read_text(encoding="utf-8")
    assert "JointHead at 64x64" in log
    told = command("train", *JOINT, "monitor=AP", "run_dir=second")
    assert told.code == 2
    assert "monitor=AP: there is no such score" in told.err


@pytest.mark.slow
def test_two_data_sets_of_ones_own_are_learnt_from_together(request: pytest.FixtureRequest) -> None:
    drawn = draw_shapes(Path("drawn"), train=8, val=4, size=64)
    boxes = f"data.parts.boxes=[coco,root={drawn},train_split=train,val_split=val]"
    masks = f"data.parts.masks=[coco_masks,root={drawn},train_split=train,val_split=val,limit=3]"
    small = [word for word in SMALL if word != "recipe=null"]
    words = ("task=joint", "data=joint", boxes, masks, "data.draws.masks=2", "loss.weights.masks=2", *small)
    trained = command("train", *words, "run_dir=run")
    assert trained.code == 0, trained.err
    log = Path("run/run.log").read_text(encoding="utf-8")
    # Three of eight images are drawn twice, and every head gets its batch norms' memory.
    assert "recipe=auto: for 11 images in batches of 4" in log
    config = yaml.safe_load(Path("run/config.yaml").read_text(encoding="utf-8"))
    momenta = {part["norm_momentum"] for part in (config["backbone"], *config["head"]["parts"].values())}
    assert momenta == {0.1}
    assert "can have an anchor of their own at IoU 0.5" in Path("run/report.html").read_text(encoding="utf-8")
    assert "8 train images with boxes, 3 train images with masks" in log
    request.getfixturevalue("unreported")
    for named in ((), ("data=joint", boxes, masks)):
        scored = command("evaluate", "checkpoint=run", *named, "num_workers=0", "run_dir=scored")
        assert scored.code == 0, scored.err
        again = json.loads(Path("scored/metrics.json").read_text())
        assert again == json.loads(Path("run/metrics.json").read_text())
        shutil.rmtree("scored")


def test_a_head_that_is_added_needs_a_plus() -> None:
    told = command("train", *JOINT, "head@head.parts.scene=classifier", "run_dir=run")
    assert told.code == 2
    assert "nothing is at head.parts.scene that it could replace; +head@head.parts.scene=classifier adds it" in told.err


@pytest.mark.slow
def test_two_masks_and_the_class_of_the_image_are_learnt_beside_boxes() -> None:
    drawn = draw_shapes(Path("drawn"), train=8, val=4, size=64)
    for split in ("train", "val"):
        for place, path in enumerate(sorted((drawn / split).glob("*.jpg"))):
            kind = Path("scenes") / split / ("dark" if place % 2 else "light")
            kind.mkdir(parents=True, exist_ok=True)
            (kind / path.name).symlink_to(path.resolve())
    masks = f"[coco_masks,root={drawn},train_split=train,val_split=val]"
    words = (
        "task=joint", "data=joint", *SMALL, "augment.zoom_out_probability=1.0",
        f"data.parts.boxes=[coco,root={drawn},train_split=train,val_split=val]",
        f"data.parts.masks={masks}", f"data.parts.more={masks}", "data.parts.scene=[image_folder,root=scenes]",
        "+head@head.parts.more=deeplab_v3", "head.parts.more.features=[stride4,last_bottleneck]",
        "+loss@loss.parts.more=pixel_cross_entropy", "+metric@metric.parts.more=mean_iou",
        "+head@head.parts.scene=classifier", "+loss@loss.parts.scene=cross_entropy",
        "+metric@metric.parts.scene=accuracy",
    )  # fmt: skip
    trained = command("train", *words, "class_weights=inverse_sqrt", "run_dir=run")
    assert trained.code == 0, trained.err
    scores = json.loads(Path("run/metrics.json").read_text())
    assert {"boxes/AP", "masks/mIoU", "more/mIoU", "scene/top1"} <= scores.keys()
    chosen = ("boxes/AP", "masks/mIoU", "more/mIoU", "scene/top1")
    assert scores["mean"] == pytest.approx(sum(scores[name] for name in chosen) / 4)
    report = Path("run/report.html").read_text(encoding="utf-8")
    assert "scene/dark" in report
    image = next(iter(sorted((drawn / "val").glob("*.jpg"))))
    predicted = command("predict", "checkpoint=run", f"source={image}", "threshold=0.01", "run_dir=found")
    assert predicted.code == 0, predicted.err
    assert Path("found/labels/masks", f"{image.stem}.png").exists()
    assert Path("found/labels/more", f"{image.stem}.png").exists()
    said = json.loads(Path("found/predictions.json").read_text())["images"][0]["scene"]["classes"]
    assert {each["name"] for each in said} == {"dark", "light"}
    found = Predictor("run")(image)
    assert sum(found["scene"].scores.tolist()) == pytest.approx(1.0)


def test_the_documented_model_is_made_of_heads() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/joint.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(blocks[1], names)
    assert names["model"].class_names == ("boxes/car", "masks/ground", "masks/road")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "data.parts is empty, and the heads are boxes, masks: give each its data, as in data.parts.boxes=[coco"),
        (["data.parts.cars=[coco,root=x]"], "data.parts names cars, and the heads are boxes, masks"),
        (["data.parts.boxes=[coco,x]", "data.parts.masks=[coco_masks]"], "data.parts.boxes: 'x' is no option"),
        (["data.parts.boxes=coco", "data.parts.masks=[coco_masks]"], "data.parts.boxes=coco: a choice of conf/data"),
        (["data.parts.boxes=[coco]", "data.parts.masks=[coco_masks]"], "data.parts.boxes: coco lacks data.root"),
        (["data.parts.boxes=[coco,rot=x]", "data.parts.masks=[coco_masks]"], "data.parts.boxes: Could not override"),
        (
            ["data.parts.boxes=[coco,root=x,batch_size=4]", "data.parts.masks=[coco_masks]"],
            "data.parts.boxes: 'batch_size=4' is of batches, which have images of all parts: data.batch_size=4.",
        ),
    ],
)
def test_parts_that_cannot_be_are_told(words: list[str], complaint: str) -> None:
    told = command("train", "task=joint", "data=joint", *words, *SMALL, "run_dir=run")
    assert told.code == 2
    assert complaint in told.err


def test_what_a_joint_model_cannot_do_is_told(trained: Path) -> None:
    Image.new("RGB", (150, 100)).save("photo.png")
    tiled = command("predict", f"checkpoint={trained}", "source=photo.png", "tile=64", "run_dir=found")
    assert tiled.code == 0, tiled.err
    taught = command("train", *JOINT, f"teacher.model={trained}", "run_dir=second")
    assert taught.code == 2
    assert "models of several heads neither teach nor are taught yet" in taught.err
    mixed = command("train", *JOINT, "augment.mosaic_probability=1.0", "run_dir=second")
    assert mixed.code != 0
    assert "Traceback" not in mixed.err


def test_info_counts_the_backbone_once() -> None:
    joint = command("info", "task=joint")
    assert joint.code == 0, joint.err
    assert "joint, 101 classes" in joint.out


@pytest.mark.needs("onnxscript", "nncf")
def test_layers_of_a_joint_model_are_not_tried_one_by_one(trained: Path) -> None:
    looked = command(
        "export", f"checkpoint={trained}", "exporter=onnx", "precision=int8", "sensitivity=true", "run_dir=exported"
    )
    assert looked.code == 2
    assert "look at models of one head" in looked.err
