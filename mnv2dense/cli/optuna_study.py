"""What a sweep with optuna keeps of its runs: the study, which chooses options and tells which runs do badly.

Hydra's own plugin holds optuna below 3. Here the study is a file in the sweep's folder that several machines may write
to, so that runs report from wherever a launcher has put them.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mnv2dense.cli.sweep import RUN_VARIABLE, note_stopped, rows_of
from mnv2dense.utils.distributed import is_first_process

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import JournalStorage
    from optuna.trial import Trial

    from mnv2dense.training.stop_bad_runs import StopBadRuns

_NAME = "mnv2dense"

CHOICES: Mapping[str, Sequence[str | None]] = {"sampler": ("tpe", "random"), "pruner": ("median", "asha", None)}


def register() -> None:
    """Make the sweeper known to Hydra, in processes that a launcher starts too; nothing of optuna is loaded."""
    folder = str(Path(__file__).parent / "plugins")
    if folder not in sys.path:
        sys.path.append(folder)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), folder)))
        importlib.invalidate_caches()
    Plugins.instance().register(importlib.import_module("hydra_plugins.mnv2dense_optuna").OptunaSweeper)


def check_optuna() -> None:
    """Whether the sweeper can work.

    Raises:
        ImportError: optuna is not there.
    """
    if importlib.util.find_spec("optuna") is None:
        raise ImportError('hydra/sweeper=optuna needs optuna: pip install "mnv2dense[optuna]"')


def distribution_of(override: Override) -> BaseDistribution:
    """What an option may be, for optuna; whole numbers where all of its values are.

    Args:
        override: with several values.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    low: Any
    high: Any
    step: Any
    if isinstance(value, IntervalSweep):
        low, high, log = value.start, value.end, "log" in value.tags
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(float(low), float(high), log=log)
    if isinstance(value, RangeSweep) and not value.shuffle:
        low, high, step = value.start, value.stop, value.step
        if all(isinstance(each, int) for each in (low, high, step)) and step > 0:
            return IntDistribution(low, low + (high - 1 - low) // step * step, step=step)
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def typed(value: object) -> str:
    """A value as a word of the command line; four digits of a number, as more make no other run."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def new_study(folder: Path, *, sampler: str, seed: int | None, direction: str) -> Study:
    """The study of a sweep that begins.

    Args:
        folder: of the sweep.
        sampler: tpe or random.
        seed: of the sampler; None draws one.
        direction: maximize or minimize.
    """
    import optuna
    from optuna.samplers import RandomSampler, TPESampler

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Without constant_liar, runs at the same time would all try the same place.
    chosen: BaseSampler = RandomSampler(seed=seed) if sampler == "random" else TPESampler(seed=seed, constant_liar=True)
    return optuna.create_study(study_name=_NAME, storage=_storage(folder), sampler=chosen, direction=direction)


def check_score(config: DictConfig, space: Collection[str]) -> None:
    """Whether the runs of a sweep have one score to be compared by.

    Args:
        config: of the whole sweep.
        space: options that differ between its runs.

    Raises:
        ValueError: they go by the loss, or by scores that differ.
    """
    if config.monitor == "loss":
        raise ValueError(
            "monitor=loss: hydra/sweeper=optuna compares what metrics.json of each run says, which has no loss. Leave "
            "monitor out, or name a score of the metric."
        )
    if several := [name for name in ("task", "metric", "monitor", "monitor_mode") if name in space]:
        raise ValueError(
            f"{several[0]}= with several values: hydra/sweeper=optuna compares runs by one score. Give one value, or "
            "leave hydra/sweeper=optuna out to try all."
        )


def direction_of(config: DictConfig) -> str:
    """Whether more or less of the score is better, as the runs will have it.

    Args:
        config: of the whole sweep.

    Raises:
        ValueError: a metric that is none, or another ``monitor_mode``.
    """
    if config.get("monitor_mode") is None and config.get("metric") is None:
        return "maximize"  # of what models are scored by where nobody says otherwise, more is better
    mode = config.get("monitor_mode")
    if mode not in ("min", "max"):
        from mnv2dense.cli.parts import built  # with torch, as the metric
        from mnv2dense.metrics.watched import watched

        mode = watched(built(config.metric), monitor=config.monitor, mode=mode).mode
    return "minimize" if mode == "min" else "maximize"


def tell(study: Study, trials: Sequence[Trial], folder: Path, *, all_ended: bool = True) -> None:
    """What became of the runs, by their folders.

    Args:
        study: that chose their options.
        trials: of these runs.
        folder: of the sweep.
        all_ended: False leaves those alone of which nothing is known: on a cluster they may still run, and tell more.
    """
    from optuna.trial import TrialState

    rows = {row.number: row for row in rows_of(folder)}
    for trial in trials:
        row = rows.get(trial.number + 1)
        score = row.scores.get(row.monitor) if row is not None else None
        if row is None or row.failed or score is None:
            if all_ended or (row is not None and row.failed):
                study.tell(trial, state=TrialState.FAIL)
        elif row.stopped is not None:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, score)


def stops_bad_runs(monitor: str) -> list[StopBadRuns]:
    """The callback that a run of such a sweep has, on all of its processes; none in any other run.

    Args:
        monitor: the score that the run is watched by.
    """
    from mnv2dense.training.stop_bad_runs import StopBadRuns

    hydra = HydraConfig.get()
    folder = Path(os.environ.get(RUN_VARIABLE, ""))
    if not is_first_process():  # with the words of its run alone, when Lightning started it
        kept = folder.parent / "multirun.yaml"
        prunes = (
            RUN_VARIABLE in os.environ and kept.is_file() and _prunes(OmegaConf.select(OmegaConf.load(kept), "hydra"))
        )
        return [StopBadRuns(monitor=f"val/{monitor}", is_bad=_never, stopped=_never)] if prunes else []
    if hydra.mode != RunMode.MULTIRUN or not _prunes(hydra):
        return []
    from optuna import load_study

    sweep = Path(str(hydra.sweep.dir))
    study = load_study(study_name=_NAME, storage=_storage(sweep), pruner=_pruner(hydra.sweeper))
    number = int(hydra.job.num)

    def is_bad(epoch: int, score: float) -> bool:
        from optuna.trial import Trial

        trial = Trial(study, study.trials[number]._trial_id)
        trial.report(score, epoch)
        return bool(trial.should_prune())

    return [StopBadRuns(monitor=f"val/{monitor}", is_bad=is_bad, stopped=lambda epoch: note_stopped(folder, epoch))]


def _never(*_: object) -> bool:
    return False


def _prunes(hydra: Any) -> bool:  # noqa: ANN401 - a node of a config
    return str(hydra.sweeper._target_).endswith(".OptunaSweeper") and hydra.sweeper.pruner is not None


def _storage(folder: Path) -> JournalStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    file = str(folder / "optuna.log")
    return JournalStorage(JournalFileBackend(file, lock_obj=JournalFileOpenLock(file)))


def _pruner(options: Any) -> BasePruner:  # noqa: ANN401 - a node of a config
    from optuna.pruners import MedianPruner, SuccessiveHalvingPruner

    if options.pruner == "asha":
        return SuccessiveHalvingPruner(min_resource=1, reduction_factor=4)
    return MedianPruner(n_startup_trials=options.startup_runs, n_warmup_steps=options.warmup_epochs)
