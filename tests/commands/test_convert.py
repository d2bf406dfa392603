"""tools/convert.py, from the command line."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from mnv2dense.data.datasets import CocoDetection, MaskFolder, VocDetection, YoloDetection
from mnv2dense.data.shapes.detection import draw_shapes
from tests.helpers.tiny import command

SMALL = ("data=shapes", "data.train_images=12", "data.val_images=4")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it; so that it is put back


def test_a_data_set_becomes_another_and_the_command_says_how_it_is_read(place: None) -> None:
    outcome = command("convert", *SMALL, "to=yolo", "output=my out")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[-1] == "my out"
    assert shlex.split(lines[-2])[3:] == ["data=yolo", "data.root='my out'"]
    assert "train: 12 images, val: 4 images" in outcome.out
    assert any(line.startswith("  areas: ") for line in lines)
    data = YoloDetection(root="my out", split="val")
    assert len(data) == 4
    report = json.loads(Path("my out/convert.json").read_text())
    assert report["images"] == {"train": 12, "val": 4}
    again = command("convert", *SMALL, "to=coco", "output=my out")
    assert again.code == 2
    assert again.err == (
        "error: output=my out: it holds something already; name a folder that is new or empty, or replace it by "
        "overwrite=true.\n"
    )
    replaced = command("convert", *SMALL, "to=coco", "output=my out", "overwrite=true")
    assert replaced.code == 0, replaced.err
    assert not Path("my out/labels").exists()


def test_all_images_are_divided_anew(place: None) -> None:
    outcome = command("convert", *SMALL, "to=voc", "output=out", "split.val=0.25", "split.test=0.25", "images=none")
    assert outcome.code == 0, outcome.err
    assert "train: 8 images, val: 4 images, test: 4 images" in outcome.out
    listed = [Path(f"out/ImageSets/Main/{name}.txt").read_text().split() for name in ("train", "val", "test")]
    assert len({stem for stems in listed for stem in stems}) == 16
    assert not Path("out/JPEGImages").exists()


def test_each_fold_is_a_data_set_and_each_image_once_in_a_val(place: None) -> None:
    outcome = command("convert", *SMALL, "to=coco", "output=out", "split.folds=4", "images=link")
    assert outcome.code == 0, outcome.err
    seen: list[str] = []
    for fold in range(4):
        train, val = (CocoDetection(root=f"out/fold_{fold}", split=split) for split in ("train", "val"))
        assert (len(train), len(val)) == (12, 4)
        seen += [path.name for path in val.paths]
        assert not {path.name for path in val.paths} & {path.name for path in train.paths}
    assert len(set(seen)) == 16


def test_lists_are_paths_that_yolo_reads(place: None) -> None:
    command("convert", *SMALL, "to=yolo", "output=whole")
    outcome = command("convert", "data=yolo", "data.root=whole", "to=lists", "output=lists", "split.val=0.5")
    assert outcome.code == 0, outcome.err
    paths = Path("lists/val.txt").read_text().splitlines()
    assert len(paths) == 8
    assert all(Path(path).is_file() for path in paths)
    (Path("whole") / "data.yaml").write_text(
        (Path("whole") / "data.yaml").read_text().replace("images/val", str(Path("lists/val.txt").absolute()))
    )
    assert len(YoloDetection(root="whole", split="val")) == 8


def test_groups_by_a_pattern_stay_whole(place: None) -> None:
    drawn = draw_shapes(Path("coco"), train=12, val=4, size=64)
    for split in ("train", "val"):
        file = drawn / "annotations" / f"instances_{split}.json"
        content = json.loads(file.read_text())
        for number, image in enumerate(content["images"]):
            name = f"film{number % 4}_{number}_{split}.jpg"
            (drawn / split / image["file_name"]).rename(drawn / split / name)
            image["file_name"] = name
        file.write_text(json.dumps(content))
    words = ("data=coco", "data.root=coco", "data.train_split=train", "data.val_split=val")
    outcome = command("convert", *words, "to=voc", "output=out", "split.val=0.25", r"split.groups=^(film\d)")
    assert outcome.code == 0, outcome.err
    films = [{path.name[:5] for path in VocDetection(root="out", split=split).paths} for split in ("train", "val")]
    assert not films[0] & films[1]
    assert [len(each) for each in films] == [3, 1]


def test_copies_stay_on_one_side(place: None) -> None:
    rng = np.random.default_rng(0)
    for number in range(8):
        noise = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((160, 120), Image.Resampling.BICUBIC)
        for split, picture in (("train", noise), ("val", ImageOps.mirror(noise).resize((120, 90)))):
            for kind in ("images", "labels"):
                Path(f"data/{kind}/{split}").mkdir(parents=True, exist_ok=True)
            picture.save(f"data/images/{split}/{split}{number}.jpg", quality=80)
            Path(f"data/labels/{split}/{split}{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    Path("data/data.yaml").write_text("names: [cat]\n")
    words = ("data=yolo", "data.root=data", "to=lists", "output=out", "split.val=0.25", "split.alike=copies")
    outcome = command("convert", *words)
    assert outcome.code == 0, outcome.err
    assert "  alike: 8 pairs of images show the same, and stay on one side" in outcome.out
    val = [Path(line).stem for line in Path("out/val.txt").read_text().split()]
    assert len(val) == 4
    assert sorted(name.removeprefix("train") for name in val if name.startswith("train")) == sorted(
        name.removeprefix("val") for name in val if name.startswith("val")
    )


def test_masks_become_masks(place: None) -> None:
    outcome = command("convert", "task=segmentation", *SMALL, "to=mask_folder", "output=out", "split.val=0.25")
    assert outcome.code == 0, outcome.err
    names = Path("out/classes.txt").read_text().splitlines()
    assert len(MaskFolder(root="out", split="val", class_names=names)) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "error: data is needed: the data set to read, as in data=coco data.root=coco."),
        (("data=cocoo",), "did you mean data=coco?"),
        (("data=coco",), "is needed: add data.root=..."),
        (("data=coco", "data.root=nowhere"), "error: data.root=nowhere: no such folder"),
        ((*SMALL, "to=yollo"), "error: to=yollo: coco, voc or yolo for boxes"),
        ((*SMALL, "images=move"), "error: images=move: copy, link"),
        ((*SMALL, "corners=round"), "error: corners=round: whole"),
        ((*SMALL, "overwrite=1"), "error: overwrite=1: true or false"),
        ((*SMALL, "to=mask_folder"), "error: to=mask_folder is of masks, and data.train (Shapes) has none."),
        ((*SMALL, "task=segmentation"), "error: to=coco is of boxes, and data.train (ShapeMasks) has none"),
        ((*SMALL, "task=classification"), "error: to=coco is of boxes, and data.train (ShapeCrops) has none"),
        ((*SMALL, "task=joint"), "error: data.train is joint; convert each of its parts by itself."),
        ((*SMALL, "split.val=1.5"), "error: split.val=1.5: a share of the images between 0 and 1"),
        ((*SMALL, "split.groups=a"), "error: split.groups is of new splits: say which, as in split.val=0.2."),
        ((*SMALL, "split.val=0.5", "split.groups=("), "error: split.groups=(: no regular expression"),
        ((*SMALL, "split.val=0.5", "split.groups=zzz"), "error: split.groups=zzz: matches none of 16 names"),
        ((*SMALL, "split.by=groups", "split.val=0.5"), "error: split.by=groups: stratified"),
        ((*SMALL, "split.folds=50"), "cannot be divided so that part"),
        ((*SMALL, "data.train=null", "data.val=null"), "there is no data set to convert: give train, val or both."),
    ],
)
def test_slips_are_one_line_and_nothing_is_written(words: tuple[str, ...], message: str, place: None) -> None:
    to = () if any(word.startswith("to=") for word in words) else ("to=coco",)
    outcome = command("convert", *words, *to, "output=out")
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert not list(Path().glob("*out*"))
    assert not list(Path().glob(".out*"))
