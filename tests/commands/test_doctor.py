"""tools/doctor.py, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.doctor.test_looks import photo
from tests.helpers.tiny import command

SMALL = ("data=shapes", "data.train_images=8", "data.val_images=4")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it; so that it is put back


@pytest.mark.parametrize("task", ["detection", "segmentation", "classification", "joint"])
def test_data_of_every_task_are_examined(task: str, place: None) -> None:
    outcome = command("doctor", f"task={task}", *SMALL)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[-2:] == ["doctor/doctor.html", "doctor/doctor.json"]
    assert Path(lines[-2]).read_text().startswith("<!doctype html>")
    told = json.loads(Path(lines[-1]).read_text())
    assert told["task"] == task
    names = {"joint": ["train.boxes", "train.masks", "val.boxes", "val.masks"]}.get(task, ["train", "val"])
    assert [split["name"] for split in told["splits"]] == names
    assert not any(finding["kind"] in ("leak", "broken image", "odd mask") for finding in told["findings"])


def folders(root: Path) -> Path:
    """Images of two classes; one of val is one of train, turned, and one is cut off."""
    for split, seed in (("train", 0), ("val", 100)):
        for name in ("cat", "dog"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(4):
                Image.fromarray(photo(seed=seed + number + 10 * (name == "dog"))).save(
                    folder / f"{number}.jpg", quality=90
                )
    turned = np.ascontiguousarray(np.rot90(photo(seed=2)))
    Image.fromarray(turned).save(root / "val" / "dog" / "0.jpg", quality=70)
    whole = (root / "train" / "dog" / "3.jpg").read_bytes()
    (root / "train" / "dog" / "3.jpg").write_bytes(whole[:-100])
    return root


def test_the_worst_is_printed_first_and_fail_on_ends_with_1(place: None) -> None:
    words = ("task=classification", "data=image_folder", f"data.root={folders(Path('data'))}", "output=out")
    outcome = command("doctor", *words)
    assert outcome.code == 0, outcome.err
    said = outcome.out
    assert " 1. MEND  1 validation image is a copy of a training image." in said
    assert "0.jpg: is a copy of 2.jpg of train (turned by 270 degrees" in said
    assert "and is annotated otherwise" in said
    assert said.index("1 image cannot be read (of 16 in all).") > said.index("is a copy of 2.jpg")
    assert "    > Take them out of one of the two" in said
    failed = command("doctor", *words, "fail_on=[leak,broken image]")
    assert failed.code == 1
    assert failed.out.splitlines()[-1] == "fail_on: found leak, broken image"
    assert failed.err == ""
    assert command("doctor", *words, "fail_on=odd mask").code == 0


def test_bad_images_are_left_out_where_that_is_asked_for(place: None) -> None:
    root = folders(Path("data"))
    outcome = command("doctor", "task=classification", "data=image_folder", f"data.root={root}", "data.bad_images=skip")
    assert outcome.code == 0, outcome.err
    assert "cannot be read" not in outcome.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "error: data is needed: the data set to look at, as in data=coco data.root=coco."),
        (("data=cocoo",), "did you mean data=coco?"),
        (("data=coco",), "is needed: add data.root=..."),
        (("data=coco", "data.root=nowhere"), "error: data.root=nowhere: no such folder"),
        ((*SMALL, "fail_on=leek"), "error: fail_on=leek: no kind of suspect; did you mean leak? They are: leak, "),
        ((*SMALL, "fail_on=[shifted mask,wrong region,missing region]", "model.size=[320]"), "error: model.size=[320]"),
        ((*SMALL, "model.size=[320]"), "error: model.size=[320]: give height and width"),
        ((*SMALL, "data.train=null", "data.val=null"), "there is no data set to examine: give train, val or both."),
    ],
)
def test_slips_are_answered_before_anything_is_written(words: tuple[str, ...], message: str, place: None) -> None:
    outcome = command("doctor", *words, "output=out")
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert not Path("out").exists()


def test_a_file_is_no_folder_to_write_into(place: None) -> None:
    Path("out").write_text("")
    outcome = command("doctor", *SMALL, "output=out")
    assert (outcome.code, outcome.err) == (
        2,
        "error: output=out: it is a file; name a folder for doctor.html and doctor.json.\n",
    )


@pytest.mark.slow
def test_wrong_labels_are_looked_for_in_the_images_that_can_be_read(place: None) -> None:
    words = ("task=classification", "data=image_folder", f"data.root={folders(Path('data'))}", "labels.weights=null")
    outcome = command("doctor", *words, "labels=true")
    assert outcome.code == 0, outcome.err
    told = json.loads(Path("doctor/doctor.json").read_text())
    kinds = {suspect["kind"] for suspect in told["suspects"]}
    assert {"leak", "broken image"} <= kinds


@pytest.mark.slow
def test_what_is_broken_is_listed_and_does_not_stop_the_search_for_wrong_labels(place: None) -> None:
    assert (
        command("convert", "data=shapes", "data.train_images=6", "data.val_images=2", "to=coco", "output=data").code
        == 0
    )
    first, second, third = sorted(Path("data/images/train").iterdir())[:3]
    first.write_bytes(b"no image")
    Image.new("RGB", (20, 20)).save(second)  # its boxes stick out of it
    third.unlink()
    words = ("data=coco", "data.root=data", "data.train_split=train", "data.val_split=val", "labels.weights=null")
    outcome = command("doctor", *words, "labels=true")
    assert outcome.code == 0, outcome.err
    suspects = json.loads(Path("doctor/doctor.json").read_text())["suspects"]
    assert sorted(row["image"] for row in suspects if row["kind"] == "broken image") == [str(first), str(third)]
    assert [row["image"] for row in suspects if row["kind"] == "other size"] == [str(second)]


def test_too_few_images_for_wrong_labels_are_told_so(place: None) -> None:
    outcome = command("doctor", "data=shapes", "data.train_images=2", "data.val_images=2", "labels=true")
    assert outcome.code == 2
    assert "error: 4 images can be read with their labels: too few to look for wrong labels" in outcome.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("task=detection", "labels.seed=-1", "labels=true"),
            "labels.seed=-1: a whole number of at least 0",
        ),
        (("task=detection", "labels.model=my run (1)"), "labels.model=my run (1) is of wrong labels: add labels=true."),
        (("task=detection", "labels=yes"), "labels=yes: true or false is needed."),
        (("task=detection", "labels.seed=one"), "labels.seed=one: a number is needed"),
        (("task=joint", "labels=true"), "labels=true is of one task; look at the parts one by one"),
        (("task=detection", "labels=true", "labels.model=nowhere"), "nowhere"),
    ],
)
def test_slips_in_the_search_for_wrong_labels_are_answered_in_a_line(
    words: tuple[str, ...], said: str, place: None
) -> None:
    outcome = command("doctor", *words, *SMALL)
    assert outcome.code == 2
    assert said in outcome.err
    assert "Traceback" not in outcome.err
