"""``hydra/sweeper=optuna``: options chosen by what earlier runs of a sweep scored.

Hydra takes plugins from a package of this name alone, ``hydra_plugins``, whose parts may lie anywhere on ``sys.path``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import final

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mnv2dense.cli.optuna_study import (
    CHOICES,
    check_optuna,
    check_score,
    direction_of,
    distribution_of,
    new_study,
    tell,
    typed,
)


@final
class OptunaSweeper(Sweeper):
    """Hydra's plugin; see conf/hydra/sweeper/optuna.yaml for the options."""

    def __init__(
        self,
        *,
        n_trials: int,
        n_jobs: int,
        sampler: str,
        pruner: str | None,
        startup_runs: int,
        warmup_epochs: int,
        seed: int | None,
        params: Mapping[str, str] | None,
    ) -> None:
        for name, value in (("n_trials", n_trials), ("n_jobs", n_jobs)):
            if value < 1:
                raise ValueError(f"hydra.sweeper.{name}={value}: must be at least 1.")
        for name, chosen in (("sampler", sampler), ("pruner", pruner)):
            if chosen not in CHOICES[name]:
                known = ", ".join("null" if each is None else each for each in CHOICES[name])
                raise ValueError(f"hydra.sweeper.{name}={chosen}: choose one of {known}.")
        self.n_trials = n_trials
        self.n_jobs = n_jobs
        self.sampler = sampler
        self.seed = seed
        self.params = dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's contract.

        Raises:
            ImportError: optuna is not there.
        """
        check_optuna()
        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run after run, or batch after batch of them, and what each scored to the study.

        Args:
            arguments: options, in Hydra's grammar.
        """
        assert self.config is not None, "Hydra calls setup() first"
        assert self.hydra_context is not None
        assert self.launcher is not None
        words = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        overrides = OverridesParser.create(config_loader=self.hydra_context.config_loader).parse_overrides(words)
        # Where an option is given twice, the last one counts.
        given = {each.get_key_element(): each for each in overrides}
        space = {key: distribution_of(each) for key, each in given.items() if each.is_sweep_override()}
        if not space:
            raise ValueError(
                "hydra/sweeper=optuna: no option has several values to choose from; add one, as in "
                "'optimizer.lr=tag(log,interval(0.0003,0.03))'."
            )
        check_score(self.config, space)
        direction = direction_of(self.config)
        fixed = [
            f"{key}={each.get_value_element_as_str()}" for key, each in given.items() if not each.is_sweep_override()
        ]
        folder = Path(str(self.config.hydra.sweep.dir))
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        study = new_study(folder, sampler=self.sampler, seed=self.seed, direction=direction)
        for first in range(0, self.n_trials, self.n_jobs):
            trials = [study.ask(space) for _ in range(first, min(first + self.n_jobs, self.n_trials))]
            batch = [[*fixed, *(f"{key}={typed(value)}" for key, value in trial.params.items())] for trial in trials]
            self.validate_batch_is_legal(batch)
            all_ended = False
            try:
                for done in self.launcher.launch(batch, initial_job_idx=first):
                    _ = done.return_value  # raises where a job did not come back
                all_ended = True
            finally:
                tell(study, trials, folder, all_ended=all_ended)
