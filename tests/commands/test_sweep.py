"""``--multirun``: one folder, a run folder for each, a table, and failures that do not stop the others."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from tests.helpers.tiny import TINY, Outcome, command

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("place")]

CLASSIFIER = (*TINY, "task=classification", "logger=none")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, Outcome]:
    """Three values, of which training cannot take one; begun in an empty folder."""
    here = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNV2DENSE_CACHE", str(cache))
        patch.chdir(here)
        outcome = command("train", *CLASSIFIER, "--multirun", "optimizer.lr=0.01,-1,0.02", "run_dir=my_sweep")
    return here, outcome


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_of_a_sweep_lies_in_its_folder(swept: tuple[Path, Outcome]) -> None:
    here, _ = swept
    assert [path.name for path in here.iterdir()] == ["my_sweep"]
    names = {path.name for path in (here / "my_sweep").iterdir()}
    assert names == {"lr=0.01", "lr=-1", "lr=0.02", "table.csv", "sweep.png", "multirun.yaml"}
    for name in ("lr=0.01", "lr=0.02"):
        assert (here / "my_sweep" / name / "report.html").is_file()
    kept = yaml.safe_load((here / "my_sweep" / "lr=0.02" / "config.yaml").read_text())
    assert kept["run_dir"] == str(Path("my_sweep", "lr=0.02"))
    assert kept["optimizer"]["lr"] == 0.02


def test_the_table_has_what_differs_and_the_scores_of_those_that_ended(swept: tuple[Path, Outcome]) -> None:
    here, outcome = swept
    table = rows(here / "my_sweep")
    assert [row["optimizer.lr"] for row in table] == ["0.01", "-1", "0.02"]
    assert [bool(row["top1"]) for row in table] == [True, False, True]
    assert "mean_class_accuracy" in table[0]
    assert "3 runs" in outcome.out


def test_a_run_that_fails_is_named_in_the_end_and_the_others_go_on(swept: tuple[Path, Outcome]) -> None:
    here, outcome = swept
    assert outcome.code == 2
    assert outcome.err == ("error: 1 of 3 runs failed (lr=-1); the others' results are in my_sweep.\n")
    assert "lr=-1 failed: optimizer: Invalid learning rate: -1." in outcome.out
    assert rows(here / "my_sweep")[1]["failed"].startswith("optimizer: Invalid learning rate")


def test_each_run_has_a_log_of_its_own(swept: tuple[Path, Outcome]) -> None:
    here, _ = swept
    first, last = ((here / "my_sweep" / name / "run.log").read_text() for name in ("lr=0.01", "lr=0.02"))
    assert "lr=0.02" not in first
    assert "lr=0.01" not in last


def test_a_choice_that_does_not_exist_is_told_before_the_first_run(tmp_path: Path) -> None:
    outcome = command("train", *CLASSIFIER, "--multirun", "optimizer=sgd,adam", "run_dir=my_sweep")
    assert outcome.code == 2
    assert "did you mean optimizer=adamw?" in outcome.err
    assert not list(Path("my_sweep").glob("*/"))
