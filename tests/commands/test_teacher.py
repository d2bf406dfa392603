"""A run that learns from another model beside the truth."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import torch

from tests.helpers.made_once import small_run
from tests.helpers.tiny import TINY, command

pytestmark = pytest.mark.usefixtures("place", "unreported")


@pytest.fixture(scope="module")
def cache() -> Path:
    """With the data of the teacher's run."""
    return small_run("detection").cache


@pytest.mark.slow
def test_a_run_under_a_teacher_says_so_and_shows_how_far_it_is_from_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    teacher = small_run("detection").folder
    words = (*TINY, "task=detection", f"teacher.model={teacher}", "teacher.weight=2", "run_dir=run")
    outcome = command("train", *words)
    assert outcome.code == 0, outcome.err
    assert f"teacher.model={teacher}: MobileNetV2 0.35 SSDLite" in caplog.text
    columns = next(Path("run/csv").rglob("metrics.csv")).read_text().splitlines()[0].split(",")
    assert {"train/teacher", "train/box", "train/classification"} <= set(columns)
    assert "val/teacher" not in columns

    again = command("train", *words, "trainer.max_epochs=2", "resume=run")
    assert again.code == 0, again.err


@pytest.mark.slow
def test_a_run_with_kept_answers_is_the_run_without_them_to_the_bit(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    teacher = small_run("detection").folder
    words = (*TINY, "task=detection", f"teacher.model={teacher}", "data.views=1", "trainer.max_epochs=3")
    for name, more in (("live", ()), ("kept", ("teacher.cache=answers",)), ("again", ("teacher.cache=answers",))):
        outcome = command("train", *words, *more, f"run_dir={name}")
        assert outcome.code == 0, outcome.err
    assert "answers.sqlite grows to 0.0" in caplog.text
    live, *kept = (
        torch.load(f"{name}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("live", "kept", "again")
    )
    for each in kept:
        assert all(torch.equal(live[name], tensor) for name, tensor in each.items())
    base = sqlite3.connect("answers/answers.sqlite")
    assert base.execute("SELECT count(*) FROM answers").fetchone() == (16,)
    base.close()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["teacher.model=nowhere/run"], "nowhere/run"),
        (["teacher=RUN"], "teacher=RUN: its options are set one by one, as in teacher.model=RUN."),
        (["teacher.model=shapes", "compile=true"], "compile=true: a teacher does not become part of the graph"),
        (["teacher.cache=answers"], "teacher.cache=answers: nobody teaches; say who, as in teacher.model=RUN."),
        (["data.views=0"], "data.views=0: how many views each image has"),
        (["teacher.model=shapes", "model.size=[96,96]", "teacher.weight=-1"], "teacher: weight is -1"),
    ],
)
def test_what_cannot_teach_is_told_before_training(options: list[str], complaint: str) -> None:
    outcome = command("train", *TINY, "task=detection", *options, "run_dir=run")
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
    assert complaint in outcome.err
    assert not Path("run/checkpoints").exists()
