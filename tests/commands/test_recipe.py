"""recipe=auto: data of one's own and no options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mnv2dense.backbones.mobilenet_v2 import MobileNetV2
from mnv2dense.data.shapes.detection import draw_shapes
from mnv2dense.models.convert import save_safetensors
from tests.helpers.tiny import TINY, command

pytestmark = pytest.mark.usefixtures("place", "unreported")


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")


@pytest.fixture(scope="module")
def drawn(cache: Path) -> Path:
    return draw_shapes(cache / "drawn", train=16, val=8)


def trained(log: pytest.LogCaptureFixture, drawn: Path, *words: str) -> tuple[str, dict[str, Any]]:
    """What the command said, and the config that its run was made by."""
    log.clear()
    data = ("data=coco", f"data.root={drawn}", "data.train_split=train", "data.val_split=val")
    options = [word for word in TINY if not word.startswith("data.train_images") and not word.startswith("data.val_im")]
    outcome = command("train", "task=detection", *data, *options, "run_dir=run", *words)
    assert outcome.code == 0, outcome.err
    return log.text, yaml.safe_load(Path("run/config.yaml").read_text())


def test_it_says_what_it_chose_trains_by_it_and_keeps_what_was_typed(
    drawn: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said, config = trained(caplog, drawn, "trainer.max_epochs=2", "backbone_lr_factor=0.5", "optimizer=adamw")
    assert "recipe=auto: for 16 images in batches of 8; type any of these to change it" in said
    assert "head.norm_momentum=0.1" in said
    assert config["head"]["norm_momentum"] == config["backbone"]["norm_momentum"] == 0.1
    assert config["callbacks"]["ema"]["decay"] == 0.5  # of four steps there is nothing to average
    assert config["schedule"]["warmup"] == 0.2
    # Typed, or of a group that was.
    assert config["trainer"]["max_epochs"] == 2
    assert config["backbone_lr_factor"] == 0.5
    assert config["model"]["size"] == [64, 64]
    assert config["optimizer"]["lr"] == 0.001
    assert not any(
        f"  {key}=" in said for key in ("trainer.max_epochs", "backbone_lr_factor", "model.size", "optimizer.lr")
    )


def test_a_backbone_that_knows_something_learns_more_slowly(drawn: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = save_safetensors(MobileNetV2(width_mult=0.35), drawn.parent / "weights.safetensors")
    said, config = trained(caplog, drawn, f"backbone.weights={weights}", "trainer.max_epochs=1")
    assert "backbone_lr_factor=0.3" in said
    assert config["backbone_lr_factor"] == 0.3


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_what_was_chosen_when_it_began(drawn: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, began = trained(caplog, drawn, "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1")
    said, config = trained(caplog, drawn, "trainer.max_epochs=60", "resume=run", "trainer.max_steps=4")
    assert "recipe=auto: as its run began" in said
    assert "norm_momentum=" in said
    for key in ("backbone", "head", "schedule"):
        assert config[key] == began[key]
    assert config["callbacks"]["ema"] == began["callbacks"]["ema"]


def test_null_leaves_all_as_it_stands(drawn: Path, caplog: pytest.LogCaptureFixture) -> None:
    said, config = trained(caplog, drawn, "recipe=null")
    assert "recipe" not in said
    assert config["callbacks"]["ema"]["decay"] == 0.9998
    assert config["backbone"]["norm_momentum"] is None


def test_other_words_are_refused(drawn: Path) -> None:
    outcome = command("train", "task=detection", "data=coco", f"data.root={drawn}", "data.train_split=train",
                      "data.val_split=val", "recipe=best")  # fmt: skip
    assert outcome.code == 2
    assert "recipe=best: auto chooses by the data what was not typed; null leaves all as in conf/." in outcome.err
    assert not list(Path("runs").rglob("config.yaml"))


def test_a_preset_says_how_to_train(caplog: pytest.LogCaptureFixture) -> None:
    outcome = command("train", "task=detection", *TINY, "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert "recipe" not in caplog.text


@pytest.mark.slow
def test_rare_classes_and_sizes_of_batches_are_options(drawn: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = (
        "data.repeat_threshold=0.9",
        "data.train_sizes=[[64,64],[96,64]]",
        "data.batch_size=2",
        "trainer.max_epochs=2",
    )
    said, config = trained(caplog, drawn, *words)
    assert config["data"]["train_sizes"] == [[64, 64], [96, 64]]
    found = re.search(r"recipe=auto: for (\d+) images", said)
    assert found is not None
    assert int(found[1]) > 16  # some are drawn twice
    splits = ("data.train_split=train", "data.val_split=val")
    for word, complaint in (
        ("data.train_sizes=[320,416]", "data.train_sizes: 320 is no size; each is [height, width] in pixels"),
        ("data.train_sizes=320", "data.train_sizes=320: give a list of sizes"),
        ("data.repeat_threshold=abc", "data.repeat_threshold=abc: a share of the images between 0 and 1"),
    ):
        outcome = command("train", "task=detection", "data=coco", f"data.root={drawn}", *splits, word)
        assert outcome.code == 2
        assert complaint in outcome.err
        assert "Traceback" not in outcome.err


def chosen(drawn: Path, caplog: pytest.LogCaptureFixture, *words: str) -> set[str]:
    """The options that a recipe would set, with a look whether all works together."""
    caplog.clear()
    splits = ("data.train_split=train", "data.val_split=val", "data.batch_size=8", "data.num_workers=0")
    small = ("trainer.accelerator=cpu", "backbone.width_mult=0.35", "trainer.fast_dev_run=true", "run_dir=run")
    outcome = command("train", *words, "task=detection", "data=coco", f"data.root={drawn}", *splits, *small)
    assert outcome.code == 0, outcome.err
    return set(re.findall(r"^INFO .*?  ([a-z_.]+)=\S+ {2,}\S", caplog.text, re.MULTILINE))


def test_what_a_file_of_ones_own_says_stays(drawn: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = Path("own/trainer/short.yaml")
    own.parent.mkdir(parents=True)
    own.write_text("_target_: pytorch_lightning.Trainer\nmax_epochs: 7\naccelerator: cpu\nfast_dev_run: false\n")
    usual = chosen(drawn, caplog, "model.size=[64,64]")
    assert {"trainer.max_epochs", "callbacks.ema.decay", "head.norm_momentum", "optimizer.lr"} <= usual
    short = chosen(drawn, caplog, "--config-dir=own", "trainer=short", "model.size=[64,64]")
    assert "trainer.max_epochs" not in short
    assert "callbacks.ema.decay" in short


@pytest.mark.parametrize(
    ("words", "closed"),
    [
        (["trainer.max_steps=40"], "trainer.max_epochs"),
        (["trainer.max_epochs=-1", "trainer.max_steps=40"], "trainer.max_epochs"),
        (["trainer.val_check_interval=0.5"], "trainer.check_val_every_n_epoch"),
        (["callbacks=early_stopping"], "trainer.check_val_every_n_epoch"),
        (["data.train_sizes=[[64,64],[96,96]]"], "model.size"),
        (["teacher.model=shapes", "backbone.width_mult=0.35", "head.first_map_anchors=6"], "model.size"),
        (["optimizer=sgd"], "optimizer.lr"),
    ],
)
def test_words_that_go_with_a_choice_close_it(
    drawn: Path, caplog: pytest.LogCaptureFixture, words: list[str], closed: str
) -> None:
    made = chosen(drawn, caplog, *words)
    assert closed not in made
    assert "head.norm_momentum" in made
