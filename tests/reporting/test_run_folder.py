from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pytorch_lightning.utilities import rank_zero_only

from mnv2dense.reporting import run_folder
from mnv2dense.reporting.run_folder import RunFolder, refuse_another_run


def test_a_run_gets_a_new_folder_named_for_task_and_time(tmp_path: Path) -> None:
    folder = RunFolder.create(None, task="detection", root=tmp_path)
    assert folder.path.is_dir()
    assert folder.path.parent == tmp_path / "detection"


def test_runs_that_begin_in_the_same_second_do_not_share_a_folder(tmp_path: Path) -> None:
    folders = {RunFolder.create(None, task="detection", root=tmp_path).path for _ in range(5)}
    assert len(folders) == 5


def test_a_folder_that_was_asked_for_is_used_as_it_is(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path / "mine", task="detection").path == tmp_path / "mine"


def test_a_file_in_the_way_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(NotADirectoryError, match=r"run_dir=.*runs: is a file"):
        RunFolder(tmp_path / "runs")


def test_a_folder_that_cannot_be_written_to_is_an_error_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "touch", refuse)  # root, who runs tests in containers, may write anywhere
    with pytest.raises(PermissionError, match=r"cannot be written to \(Permission denied\); set another run_dir="):
        RunFolder(tmp_path)


def test_metrics_are_valid_json_with_sorted_keys_and_null_for_nan(tmp_path: Path) -> None:
    RunFolder(tmp_path).write_metrics(
        {
            "APs": float("nan"),
            "AP": np.float32(0.5),
            "per_class": {"cat": torch.tensor(0.25)},
            "AR1": float("inf"),
        }
    )
    text = (tmp_path / "metrics.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "AP": 0.5,
        "APs": None,
        "AR1": None,
        "per_class": {"cat": 0.25},
    }
    assert text.index('"AP"') < text.index('"APs"') < text.index('"AR1"') < text.index('"per_class"')
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_the_config_comes_back_in_its_order(tmp_path: Path) -> None:
    config = {"seed": 1, "backbone": {"width_mult": 0.5, "features": ["b", "a"]}, "data": {"root": "Bildér"}}
    RunFolder(tmp_path).write_config(config)
    loaded = yaml.safe_load((tmp_path / "config.yaml").read_text(encoding="utf-8"))
    assert loaded == config
    assert list(loaded) == ["seed", "backbone", "data"]


def test_the_environment_names_versions_seed_and_command(tmp_path: Path) -> None:
    RunFolder(tmp_path).write_environment(seed=7)
    found = json.loads((tmp_path / "environment.json").read_text())
    assert found["seed"] == 7
    assert (
        found["packages"]["torch"] == torch.__version__.split("+")[0] or found["packages"]["torch"] == torch.__version__
    )
    assert found["cpus"] >= 1
    assert isinstance(found["command"], list)


def test_the_revision_of_a_checkout_says_whether_files_were_changed(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-m", "first")
    clean = run_folder._revision(tmp_path)
    assert clean is not None
    assert len(clean["commit"]) == 40
    assert clean["changed"] is False
    (tmp_path / "file").write_text("two")
    changed = run_folder._revision(tmp_path)
    assert changed == {**clean, "changed": True}


def test_outside_of_a_checkout_there_is_no_revision(tmp_path: Path) -> None:
    assert run_folder._revision(tmp_path) is None


def test_what_is_logged_is_in_the_log_file(tmp_path: Path) -> None:
    root = logging.getLogger()
    level = root.level
    handler = RunFolder(tmp_path).log_to_file()
    assert handler is not None
    try:
        logging.getLogger("mnv2dense.somewhere").info("epoch %d done", 3)
        lightning = logging.getLogger("lightning_of_tests")  # commands of other tests quieten the real one
        lightning.info("💡 Tip: For seamless cloud logging, try installing litlogger")
        lightning.info("GPU available: False")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
    log = (tmp_path / "run.log").read_text()
    assert "INFO mnv2dense.somewhere: epoch 3 done" in log
    assert "GPU available: False" in log
    assert "seamless" not in log  # Lightning's advert


def test_other_processes_take_the_first_ones_folder_and_write_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = RunFolder.create(None, task="detection", root=tmp_path)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    other = RunFolder.create(None, task="detection", root=tmp_path)
    assert other.path == first.path
    other.write_metrics({"AP": 1.0})
    other.write_environment()
    assert other.log_to_file() is None
    assert list(first.path.iterdir()) == []
    assert list(first.path.parent.iterdir()) == [first.path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_log_that_cannot_be_written_any_more_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = RunFolder(tmp_path).log_to_file()
    assert isinstance(handler, logging.FileHandler)
    old = handler.setStream(Path("/dev/full").open("w", encoding="utf-8"))  # noqa: SIM115 - closed by the handler
    assert old is not None
    old.close()
    for _ in range(3):
        logging.getLogger("mnv2dense.test").info("a note")
    told = [record.message for record in caplog.records if "not written any more" in record.message]
    assert told == [f"{tmp_path / 'run.log'}: not written any more (No space left on device)"]
    assert handler not in logging.getLogger().handlers
    assert capsys.readouterr().err == ""


def test_a_name_that_is_no_unicode_is_logged_and_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    handler = folder.log_to_file()
    assert handler is not None
    try:
        # To the handler itself: pytest's own handlers would take it too, and its parallel processes speak UTF-8.
        handler.handle(logging.makeLogRecord({"msg": "skipped %s", "args": ("caf\udce9.png",)}))
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    assert r"skipped caf\udce9.png" in (tmp_path / "run.log").read_text(encoding="utf-8")
    folder.write_metrics({"AP/\ud800": 0.5})
    assert json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8")) == {"AP/\ud800": 0.5}


def test_a_folder_that_went_away_is_made_anew_for_what_is_still_to_be_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.rename(tmp_path / "moved")
    folder.write_metrics({"AP": 0.5})
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == {"AP": 0.5}


@pytest.mark.skipif(sys.platform == "win32", reason="links want rights there")
@pytest.mark.parametrize("link", ["run.log", "checkpoints", "csv/metrics.csv", "labels"])
def test_a_link_inside_of_a_run_folder_is_refused_and_the_folder_itself_may_be_one(link: str, tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    (run / link).parent.mkdir(parents=True)
    elsewhere.mkdir()
    (tmp_path / "alias").symlink_to(run)
    RunFolder(tmp_path / "alias")
    (run / link).symlink_to(elsewhere)
    with pytest.raises(ValueError, match=rf"run: {link} in it is a symbolic link to .*elsewhere; a run writes into"):
        RunFolder(run)
    assert list(elsewhere.iterdir()) == []


def test_a_run_goes_on_in_no_folder_of_another_one(tmp_path: Path) -> None:
    """That one's best checkpoint would stay, under the best score of the run that goes on."""
    for name in ("one", "other"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "checkpoints" / "last.ckpt").touch()
    taken, other = RunFolder(tmp_path / "one"), tmp_path / "other"
    for resume in (other, other / "checkpoints" / "last.ckpt"):
        with pytest.raises(ValueError, match=rf"one already holds a run.*on {resume}, or resume={taken.path}\."):
            refuse_another_run(taken, resume=resume)
    with pytest.raises(ValueError, match=r"already holds a run.*add resume="):
        refuse_another_run(taken, resume=None)
    for resume in (taken.path, taken.path / "checkpoints" / "last.ckpt"):
        refuse_another_run(taken, resume=resume)
    refuse_another_run(RunFolder(tmp_path / "new"), resume=other)


def test_a_folder_in_which_nothing_began_is_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = RunFolder.create(None, task="detection", root=tmp_path)
    folder.log_to_file()
    folder.write_config({})
    folder.write_environment()
    with caplog.at_level("INFO"), pytest.raises(ValueError, match="monitor"), folder.gone_if_nothing_begins():
        raise ValueError("monitor=AP5")
    assert list((tmp_path / "detection").iterdir()) == []
    assert caplog.messages == [f"{folder.path} is removed: nothing was begun."]


def test_a_folder_that_was_named_and_made_for_nothing_is_removed_once(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "mine", task="detection")
    folder.write_config({})
    with pytest.raises(ValueError, match="monitor"), folder.gone_if_nothing_begins(), folder.gone_if_nothing_begins():
        raise ValueError("monitor=AP5")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("reason", ["it was begun", "it was there before", "there is more in it"])
def test_a_folder_stays_where(reason: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine" if reason == "it was there before" else None
    if mine is not None:
        mine.mkdir()
    folder = RunFolder.create(mine, task="detection", root=tmp_path)
    folder.write_config({})
    if reason == "it was begun":
        folder.begin()
    elif reason == "there is more in it":
        (folder.path / "labels").mkdir()
    with pytest.raises(ValueError, match="in the middle"), folder.gone_if_nothing_begins():
        raise ValueError("in the middle")
    assert (folder.path / "config.yaml").is_file()
