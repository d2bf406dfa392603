"""What a sweep calls its folders, and which words it takes for one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import mnv2dense.cli.sweep as sweep_module
from mnv2dense.cli.sweep import Sweep, note_failure, run_name, words_of_process


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"optimizer.lr": "0.1", "seed": "2"}, "lr=0.1,seed=2"),
        ({"a.lr": "1", "b.lr": "2"}, "a.lr=1,b.lr=2"),  # a short key that two options share would name neither
        ({"data.root": "'/data/my photos'"}, "root=_data_my_photos"),
        ({"model.size": "[64,64]"}, "size=_64,64"),
        ({"metric": "../../etc"}, "metric=.._.._etc"),
        ({}, "run_3"),
    ],
)
def test_a_run_is_called_by_what_differs(changed: dict[str, str], name: str) -> None:
    assert run_name(changed, 3) == name


def test_a_long_name_is_cut_by_bytes_and_numbered() -> None:
    name = run_name({"a": "x" * 300}, 12)
    assert name.startswith("a=xxx")
    assert name.endswith("~12")
    assert len(run_name({"a": "\u00fc" * 300}, 12).encode()) <= 80


def test_one_run_is_no_sweep() -> None:
    assert Sweep.of(["optimizer.lr=0.1"]) is None


def test_the_folder_is_run_dir_or_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = Sweep.of(["-m", "seed=0,1", "run_dir='my sweep'"])
    assert given is not None
    assert given.folder == Path("my sweep")
    assert given.words[-1] == "hydra.sweep.dir='my sweep'"
    fresh = Sweep.of(["--multirun", "seed=0,1"])
    assert fresh is not None
    assert fresh.folder.parent == Path("runs/sweep")


def test_a_folder_of_a_sweep_is_not_mixed_with_another(tmp_path: Path) -> None:
    (tmp_path / "multirun.yaml").touch()
    with pytest.raises(ValueError, match="already holds a sweep, whose runs would mix with these"):
        Sweep.of(["-m", "seed=0,1", f"run_dir='{tmp_path}'"])
    with pytest.raises(ValueError, match="run_dir= with several values: one folder holds the sweep"):
        Sweep.of(["-m", "run_dir=a,b"])


def test_a_sweep_that_is_to_go_on_by_itself_is_refused() -> None:
    with pytest.raises(ValueError, match=r"resume=auto with --multirun: a sweep does not go on"):
        Sweep.of(["-m", "seed=0,1", "resume=auto", "run_dir=a"])
    with pytest.raises(ValueError, match=r"resume=auto with --multirun: a sweep does not go on"):
        Sweep.of(["-m", "resume=auto,null", "run_dir=a"])
    assert Sweep.of(["-m", "seed=0,1", "resume=runs/auto", "run_dir=a"]) is not None


def test_runs_of_the_same_name_have_folders_of_their_own_and_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNV2DENSE_RUN_OF_SWEEP", "")
    sweep = Sweep.of(["-m", "seed=0,1", "optimizer.lr=1", f"run_dir='{tmp_path}'"])
    assert sweep is not None
    folders = [sweep.begin(number, ["seed=0", "optimizer.lr=1"]) for number in (1, 2)]
    assert [folder.name for folder in folders] == ["seed=0", "seed=0_2"]
    note_failure(folders[1], "no\nroom")
    rows = sweep.rows()
    assert [(row.number, row.changed, row.failed) for row in rows] == [
        (1, {"seed": "0"}, ""),
        (2, {"seed": "0"}, "no room"),
    ]


@pytest.mark.parametrize(
    ("words", "params", "sweeper", "said"),
    [
        (["seed=0,1", "optimizer.lr=1,2", "data=voc"], None, "BasicSweeper", "2 of 4 runs never began.\n"),
        (["experiment=ablation"], {"seed": "range(5)"}, "BasicSweeper", "3 of 5 runs never began.\n"),
        (["seed=0,1"], None, "BasicSweeper", ""),
        (["seed=0,1,2"], None, "OptunaSweeper", ""),  # nobody knows how many it would try
        (["seed=0,1,2", "data=glob(*)"], None, "BasicSweeper", ""),
    ],
)
def test_a_sweep_that_was_stopped_says_how_many_runs_never_began(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    params: dict[str, str] | None,
    sweeper: str,
    said: str,
) -> None:
    monkeypatch.setenv("MNV2DENSE_RUN_OF_SWEEP", "")
    sweep = Sweep(tmp_path, [])
    for number in (1, 2):
        sweep.begin(number, [f"seed={number}"])
    kept = {"sweeper": {"_target_": f"plugins.{sweeper}", "params": params}, "overrides": {"task": words}}
    (tmp_path / "multirun.yaml").write_text(yaml.safe_dump({"hydra": kept}))
    assert sweep.finish() is None
    out = capsys.readouterr().out
    assert ("2 of " in out) == bool(said)
    assert out.endswith(f"{said}{tmp_path}\n")


def test_another_process_of_a_run_has_the_words_of_that_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning starts it with the first one's command line, that of the whole sweep."""
    words = ["-m", "seed=0,1", f"run_dir='{tmp_path}'"]
    sweep = Sweep.of(words)
    assert sweep is not None
    monkeypatch.setenv("MNV2DENSE_RUN_OF_SWEEP", "")  # what begin() says there is taken away after the test
    folder = sweep.begin(2, ["seed=1", f"run_dir='{tmp_path}'"])
    assert words_of_process(words) == words
    monkeypatch.setattr(sweep_module, "is_first_process", lambda: False)
    given = words_of_process([*words, 'hydra.run.dir="."', "hydra.job.name=train_ddp_process_1"])
    assert given == ["seed=1", f"run_dir='{folder}'", 'hydra.run.dir="."', "hydra.job.name=train_ddp_process_1"]
    assert Sweep.of(given) is None
