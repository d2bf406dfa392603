"""The parts that docs/contributing.md shows: written to a folder outside, trained there, scored and used."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

import mnv2dense
from mnv2dense.data.shapes import ShapeCrops, Shapes
from mnv2dense.io import read_image
from mnv2dense.runtimes import formats
from tests.helpers.documented import Command, commands, fences
from tests.helpers.tiny import TINY, Outcome
from tests.helpers.tiny import command as run_command

PAGE = "docs/contributing.md"

# Parts of others have no width.
SHORT = tuple(option for option in TINY if "width_mult" not in option)
OF_SHAPES = tuple(option for option in SHORT if "images=" in option)


@pytest.fixture
def folder(place: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's files, in a working folder that Python looks into."""
    for fence in fences():
        name = re.match(r"# (my_(?:parts|conf)/\S+)\n", fence.text)
        if fence.page == PAGE and name is not None:
            target = tmp_path / name[1]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(fence.text, encoding="utf-8")
    (tmp_path / "my_parts" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_parts"]:
        del sys.modules[name]


def documented(*words: str) -> Command:
    """The page's one command with these words."""
    found = [command for command in commands() if command.page == PAGE and set(words) <= set(command.arguments)]
    assert len(found) == 1, [command.text for command in found]
    return found[0]


def run(command: Command, *options: str) -> Outcome:
    outcome = run_command(command.tool, *command.arguments, *options)
    assert outcome.code == 0, outcome.err
    return outcome


def test_the_page_shows_a_part_of_every_kind(folder: Path) -> None:
    shown = {path.stem for path in (folder / "my_parts").glob("*.py")} - {"__init__"}
    assert {"backbone", "head", "loss", "metric", "augment", "data", "torch_export"} <= shown
    for path in (folder / "my_conf").rglob("*.yaml"):
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
        target = options.get("_target_") or options["train"]["_target_"]
        if target == "mnv2dense.metrics.MetricGroup":  # of parts that other files name
            continue
        assert target.partition(".")[0] == "my_parts"


def test_the_backbone_trains_and_its_run_is_scored_and_predicts(folder: Path) -> None:
    run(documented("backbone=strided_convs"), *SHORT)
    run(documented("checkpoint=my_run"), "device=cpu", "num_workers=0")
    picture = ShapeCrops(split="val", train_images=16, val_images=8)[0].image
    model = mnv2dense.load_model("my_run", packages=["mnv2dense", "my_parts"])
    assert type(model.backbone).__module__ == "my_parts.backbone"
    assert sum(mnv2dense.Predictor(model, device="cpu")(picture).scores.tolist()) == pytest.approx(1)


@pytest.mark.usefixtures("unreported")
def test_a_run_of_own_parts_is_refused_where_nobody_names_their_package(folder: Path) -> None:
    run(documented("backbone=strided_convs"), *SHORT)
    outcome = run_command("evaluate", "checkpoint=my_run", "device=cpu")
    assert outcome.code == 2
    assert "my_parts.backbone.StridedConvs" in outcome.err
    assert "packages" in outcome.err


def test_the_head_trains_and_is_scored_as_ours_are(folder: Path) -> None:
    run(documented("head=sum_of_maps"), *SHORT, "backbone.width_mult=0.35", "backbone.weights=null")
    model = mnv2dense.load_model("my_masks_run", packages=["mnv2dense", "my_parts"])
    assert type(model.head).__name__ == "SumOfMaps"
    own = yaml.safe_load(Path("my_conf/head/sum_of_maps.yaml").read_text())
    assert {key: model.config["head"][key] for key in own} == own  # and not the preset's, which is for our head
    picture = torch.randint(0, 256, (48, 80, 3), dtype=torch.uint8).numpy()
    assert mnv2dense.Predictor(model, device="cpu")(picture).labels.shape == (48, 80)


@pytest.mark.usefixtures("unreported")
def test_the_loss_trains_under_its_own_name(folder: Path) -> None:
    run(documented("loss=tversky"), *SHORT, "backbone.width_mult=0.35", "backbone.weights=null")
    (log,) = Path("my_loss_run").rglob("metrics.csv")
    with log.open(newline="") as file:
        values = [float(row["train/tversky"]) for row in csv.DictReader(file) if row.get("train/tversky")]
    assert values
    assert all(0 < value < 1 for value in values)


def test_the_loss_counts_what_the_paper_counts(folder: Path) -> None:
    from my_parts.loss import TverskyLoss  # type: ignore[import-not-found]

    # Two classes, four pixels: one of class 1 is missed. Certain logits, so that a probability is 0 or 1.
    masks = torch.tensor([[[0, 0], [1, 1]]], dtype=torch.uint8)
    logits = torch.tensor([[[9.0, 9.0], [9.0, -9.0]], [[-9.0, -9.0], [-9.0, 9.0]]]).mul(10)[None]
    batch = mnv2dense.Batch(torch.zeros(1, 3, 2, 2), None, None, masks, mnv2dense.Infos(*[torch.zeros(1)] * 4))
    # class 0: 2 right, 1 wrong; class 1: 1 right, 1 missed; 1 is added above and below.
    overlaps = (3 / (3 + 0.3), 2 / (2 + 0.7))
    assert TverskyLoss()(logits, batch)["tversky"].item() == pytest.approx(1 - sum(overlaps) / 2, abs=1e-5)
    masks[0, 1, 0] = 255  # the one that was missed
    assert TverskyLoss()(logits, batch)["tversky"].item() == pytest.approx(0, abs=1e-5)


@pytest.mark.slow
def test_the_metric_trains_alone_and_beside_ours_and_chooses_the_checkpoint(folder: Path) -> None:
    options = [*SHORT, "backbone.width_mult=0.35", "trainer.max_epochs=2", "trainer.check_val_every_n_epoch=1"]
    words = [word for word in documented("metric=map_and_counting").arguments if not word.startswith("monitor=")]
    alone = [word.replace("map_and_counting", "counting").replace("my_metric_run", "alone") for word in words]
    outcome = run_command("train", *alone, *options)
    assert outcome.code == 0, outcome.err
    assert re.search(r"epoch 1/2  loss \S+  val/loss \S+  val/count_error \S+  val/count_right \S+  lr", outcome.out)
    assert "val/AP" not in outcome.out
    kept = yaml.safe_load(Path("alone", "config.yaml").read_text())
    assert (kept["monitor"], kept["monitor_mode"]) == ("count_error", "min")
    assert (
        kept["callbacks"]["checkpoints"] | {"monitor": "val/count_error", "mode": "min"}
        == kept["callbacks"]["checkpoints"]
    )

    outcome = run(documented("metric=map_and_counting"), *options)
    assert re.search(r"val/AP \S+  val/AP50 \S+  val/AP75 \S+  val/count_error \S+  val/count_right", outcome.out)
    scores = json.loads(Path("my_metric_run", "metrics.json").read_text())
    assert {"AP", "AP50", "count_error", "count_right"} <= set(scores)


@pytest.mark.usefixtures("unreported")
def test_the_augmentation_trains_and_turns_the_image_by_its_seed(folder: Path) -> None:
    run(documented("augment=upside_down"), *SHORT, "backbone.width_mult=0.35")
    from my_parts.augment import UpsideDown  # type: ignore[import-not-found]

    sample = ShapeCrops(split="val", train_images=16, val_images=8)[0]
    turned = UpsideDown(probability=1)(sample, 3)
    assert (turned.image == sample.image[::-1]).all()
    assert UpsideDown(probability=0)(sample, 3) is sample


def test_the_data_set_trains_and_is_scored_when_it_is_named(folder: Path) -> None:
    list_shapes(folder / "my_table")
    options = [option for option in SHORT if option not in OF_SHAPES]
    run(documented("data.root=my_table", "task=classification"), *options, "backbone.width_mult=0.35")
    run(documented("checkpoint=my_table_run"), "device=cpu", "num_workers=0")
    outcome = run_command("evaluate", "checkpoint=my_table_run", "device=cpu")
    assert outcome.code == 2
    assert "my_parts.data.CsvLabels" in outcome.err


def test_the_data_set_says_what_is_missing(folder: Path) -> None:
    list_shapes(folder / "my_table")
    next((folder / "my_table").glob("*.png")).unlink()
    command = documented("data.root=my_table", "task=classification")
    outcome = run_command("train", *command.arguments, "trainer.accelerator=cpu")
    assert outcome.code == 2
    assert "images are not there" in outcome.err


@pytest.mark.slow
def test_the_exporter_writes_a_file_that_passes_the_gate_and_predicts(folder: Path) -> None:
    known = dict(formats.FORMATS)
    (code,) = (fence.text for fence in fences() if fence.page == PAGE and "export_model" in fence.text)
    Image.fromarray(Shapes(split="val", train_images=16, val_images=8)[0].image).save("photo.jpg")
    names: dict[str, Any] = {}
    try:
        exec(compile(code, PAGE, "exec"), names)
        assert names["report"].parity.agreement == 1
        wanted = mnv2dense.Predictor("shapes", threshold=0.4, device="cpu")("photo.jpg")
        assert len(names["found"]) == len(wanted) > 0
        torch.testing.assert_close(names["found"].boxes, wanted.boxes, atol=0.01, rtol=0)
        with pytest.raises(ValueError, match="precision=int8: written here as fp32 alone"):
            mnv2dense.export_model(mnv2dense.load_model("shapes"), "int8.pt2", precision="int8")
    finally:
        formats.FORMATS.clear()
        formats.FORMATS.update(known)


def list_shapes(folder: Path) -> None:
    """Crops of shapes as images, with a table for each split."""
    folder.mkdir()
    for split, count in (("train", 8), ("val", 4)):
        crops = ShapeCrops(split=split, train_images=16, val_images=8)
        rows = ["file,class"]
        for index in range(count):
            name = f"{split}{index}.png"
            Image.fromarray(crops[index].image).save(folder / name)
            assert read_image(folder / name).shape == crops[index].image.shape
            rows.append(f"{name},{('round', 'other')[index % 2]}")
        (folder / f"{split}.csv").write_text("\n".join(rows) + "\n")
