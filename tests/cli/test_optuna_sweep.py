"""``hydra/sweeper=optuna``: what it chooses from, and which runs it ends."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

import mnv2dense.cli.optuna_study as study_module
from mnv2dense.cli.optuna_study import check_score, direction_of, distribution_of, new_study, tell, typed
from mnv2dense.cli.sweep import rows_of
from tests.helpers.tiny import command


class Errors:
    """A metric of which less is better."""

    headlines: ClassVar = {"error": "share of images that are wrong", "right": "of those that are not"}
    lower_is_better = ("error",)
    bind = reset = update = compute = write = lambda *_: {}


def chosen_from(word: str) -> Any:  # noqa: ANN401 - of optuna, which need not be there
    return distribution_of(OverridesParser.create().parse_override(word))


@pytest.mark.needs("optuna")
def test_options_are_numbers_where_their_values_are_and_words_elsewhere() -> None:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    assert chosen_from("lr=tag(log,interval(0.001,1))") == FloatDistribution(0.001, 1.0, log=True)
    assert chosen_from("lr=interval(0.5,1.5)") == FloatDistribution(0.5, 1.5)
    assert chosen_from("epochs=int(interval(3,9))") == IntDistribution(3, 9)
    assert chosen_from("size=range(32,100,32)") == IntDistribution(32, 96, step=32)
    assert chosen_from("schedule=cosine,poly") == CategoricalDistribution(["cosine", "poly"])
    assert chosen_from("model.size=choice([64,64],[96,96])") == CategoricalDistribution(["[64,64]", "[96,96]"])


def test_numbers_have_four_digits_as_folders_are_called_by_them() -> None:
    assert [typed(value) for value in (0.00123456, 3, "cosine")] == ["0.001235", "3", "cosine"]


@pytest.mark.parametrize(
    ("monitor", "mode", "direction"),
    [(None, None, "minimize"), ("error", None, "minimize"), ("right", None, "maximize"), (None, "max", "maximize")],
)
def test_better_is_as_the_metric_has_it_unless_told(monitor: str | None, mode: str | None, direction: str) -> None:
    metric = {"_target_": f"{__name__}.Errors"}
    assert direction_of(OmegaConf.create({"monitor": monitor, "monitor_mode": mode, "metric": metric})) == direction


def test_runs_that_no_one_score_compares_are_refused_before_any_begins() -> None:
    with pytest.raises(ValueError, match=r"monitor=loss: .* Leave monitor out, or name a score"):
        check_score(OmegaConf.create({"monitor": "loss"}), [])
    with pytest.raises(ValueError, match=r"monitor= with several values: .* Give one value"):
        check_score(OmegaConf.create({"monitor": "AP"}), ["optimizer.lr", "monitor"])
    check_score(OmegaConf.create({"monitor": None}), ["optimizer.lr"])


@pytest.mark.needs("optuna")
def test_the_study_hears_what_each_run_scored_was_stopped_or_failed(tmp_path: Path) -> None:
    study = new_study(tmp_path, sampler="random", seed=0, direction="maximize")
    space = {"lr": chosen_from("lr=interval(0.0,1.0)")}
    trials = [study.ask(space) for _ in range(5)]
    notes: list[dict[str, Any]] = [{"failed": ""}, {"failed": "", "stopped": 2}, {"failed": "no room"}, {"failed": ""}]
    for number, note in enumerate(notes, 1):
        run = tmp_path / str(number)
        run.mkdir()
        (run / "sweep.json").write_text(json.dumps({"number": number, "changed": {}, **note}))
        monitor = "loss" if number == 4 else "AP"  # metrics.json has no loss: the other scores are not taken for it
        (run / "config.yaml").write_text(f"monitor: {monitor}\ncurves: [AP50]\n")
        (run / "metrics.json").write_text(json.dumps({"AP50": 0.5, "AP": 0.25}))
    assert [row.stopped for row in rows_of(tmp_path)] == [None, 2, None, None]
    trials[1].report(0.1, 2)
    tell(study, trials, tmp_path)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "FAIL", "FAIL", "FAIL"]
    assert study.best_value == 0.25


@pytest.mark.needs("optuna")
def test_runs_that_ended_are_told_though_the_sweep_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from optuna import load_study

    monkeypatch.syspath_prepend(str(Path(study_module.__file__).parent / "plugins"))
    plugin = importlib.import_module("hydra_plugins.mnv2dense_optuna").OptunaSweeper

    class Launcher:
        def launch(self, batch: list[list[str]], initial_job_idx: int) -> list[Any]:
            run = tmp_path / "first"
            run.mkdir()
            (run / "sweep.json").write_text(json.dumps({"number": 1, "changed": {}, "failed": ""}))
            (run / "config.yaml").write_text("monitor: AP\n")
            (run / "metrics.json").write_text(json.dumps({"AP": 0.25}))
            raise KeyboardInterrupt

    options = {"sampler": "random", "pruner": None, "startup_runs": 5, "warmup_epochs": 2, "seed": 0, "params": None}
    sweeper = plugin(n_trials=4, n_jobs=2, **options)
    sweeper.launcher = Launcher()
    config = {"monitor": None, "monitor_mode": "max", "hydra": {"sweep": {"dir": str(tmp_path)}}}
    sweeper.config = OmegaConf.create(config)
    loader = SimpleNamespace(load_sweep_config=lambda **_: None)
    sweeper.hydra_context = SimpleNamespace(config_loader=loader)
    with pytest.raises(KeyboardInterrupt):
        sweeper.sweep(["lr=interval(0.0,1.0)"])
    study = load_study(study_name="mnv2dense", storage=study_module._storage(tmp_path))
    assert [(trial.state.name, trial.value) for trial in study.trials] == [("COMPLETE", 0.25), ("RUNNING", None)]


def test_an_experiment_may_choose_the_sweeper_and_without_optuna_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(sys, "path", [place for place in sys.path if not place.endswith("/plugins")])
    has = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *of: None if name == "optuna" else has(name, *of))
    file = tmp_path / "conf" / "experiment" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\ndefaults:\n  - override /hydra/sweeper: optuna\n")
    sweep = ("task=detection", "--multirun", "seed=0,1", "run_dir=out")
    outcome = command("train", "--config-dir", "conf", "experiment=mine", *sweep)
    assert outcome.err == 'error: hydra/sweeper=optuna needs optuna: pip install "mnv2dense[optuna]"\n'
    assert outcome.code == 2
    outcome = command("train", "+hydra/sweeper=optuna", *sweep)
    assert outcome.err == "error: +hydra/sweeper=optuna: leave the + out, hydra/sweeper has a choice already.\n"
