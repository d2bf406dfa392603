"""tools/shard.py, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnv2dense.data.shards import open_shards
from tests.helpers.tiny import command

SMALL = ("data=shapes", "data.train_images=6", "data.val_images=2")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it; so that it is put back


def test_the_data_of_a_command_becomes_shards(place: None) -> None:
    outcome = command("shard", "task=detection", *SMALL, "output=out", "shard_mb=0.05")
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == "out"
    assert "6 images to train, 2 images to val, in" in outcome.out
    assert [len(open_shards(root="out", split=split)) for split in ("train", "val")] == [6, 2]
    again = command("shard", "task=detection", *SMALL, "output=out")
    assert again.code == 2
    assert again.err == "error: output=out: it holds something already; name a folder that is new or empty.\n"


def test_joint_data_keeps_its_parts_and_one_split_may_be_left_out(place: None) -> None:
    outcome = command("shard", "task=joint", *SMALL, "data.train=null", "output=out")
    assert outcome.code == 0, outcome.err
    assert "2 images to val, in 1 shards" in outcome.out
    assert list(open_shards(root="out", split="val").parts) == ["boxes", "masks"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "error: data is needed: the data set to write, as in data=coco data.root=coco."),
        (("data=cocoo",), "did you mean data=coco?"),
        (("data=coco",), "is needed: add data.root=..."),
        (("data=coco", "data.root=nowhere"), "error: data.root=nowhere: no such folder"),
        ((*SMALL, "shard_mb=0"), "error: shard_mb=0: megabytes of a shard"),
        ((*SMALL, "seed=x"), "error: seed=x: a number is needed, as in seed=0."),
        ((*SMALL, "data.train=null", "data.val=null"), "there is no data set to write: give train, val or both."),
    ],
)
def test_slips_are_answered_before_anything_is_written(words: tuple[str, ...], message: str, place: None) -> None:
    outcome = command("shard", *words, "output=out")
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert not Path("out").exists()


def test_shards_that_are_not_there_are_told_in_the_words_of_the_command(place: None) -> None:
    outcome = command("train", "task=detection", "data=shards", "data.root=nowhere", "run_dir=run")
    assert outcome.code == 2
    assert outcome.err.startswith("error: data.root=nowhere: there is no such folder (looked from")
