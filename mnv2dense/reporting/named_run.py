"""What a user names to be compared: a run, an evaluation of one, a checkpoint, other weights or an exported file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnv2dense.pretrained.checkpoint_file import find_checkpoint, is_own_checkpoint
from mnv2dense.reporting.run_config import trained_config
from mnv2dense.runtimes.formats import is_exported, no_such_file
from mnv2dense.utils.text_files import read_yaml

# Where a run lies, what its folder is called, and how fast it was read: no answer goes by these.
_PLACES = (
    *("run_dir", "resume", "license", "log_artifacts", "logger", "curves", "data.num_workers", "data.pin_memory"),
    *("data.cache", "data.cache_gigabytes", "data.by_task", "teacher.cache", "trainer.default_root_dir"),
    *("trainer.logger", "trainer.log_every_n_steps", "callbacks.progress", "callbacks.history"),
)


@dataclass(frozen=True)
class NamedRun:
    """See the module.

    Attributes:
        given: as it was typed.
        model: what is loaded.
        folder: of the training, where it is known.
        config: that it was trained with; None where nobody knows.
        viewing: options of an evaluation that say how images are looked at: ``test_time``, ``output_stride``.
    """

    given: str
    model: str
    folder: Path | None = None
    config: Mapping[str, Any] | None = None
    viewing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int | None:
        """Of the training; None where nobody knows."""
        seed = (self.config or {}).get("seed")
        return seed if isinstance(seed, int) else None

    def options(self) -> dict[str, str]:
        """All that the answers may go by, but the seed: dotted option -> value."""
        told = {**(self.config or {}), **self.viewing}
        plain = {key: _as_typed(value) for key, value in _leaves(told) if not _is_place(key) and key != "seed"}
        if self.folder is not None and (file := find_checkpoint(self.model)).name != "best.ckpt":
            plain["checkpoint"] = file.name
        return plain


def named_runs(given: Sequence[str]) -> list[NamedRun]:
    """What the names of runs to compare stand for.

    Raises:
        ValueError: fewer than two, or one twice.
        FileNotFoundError: no such run.
    """
    if len(given) < 2:
        raise ValueError("two or more runs are needed, one after the other: python tools/compare.py RUN RUN")
    twice = next((name for name in given if list(given).count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is there twice; name runs that differ.")
    return [named_run(name) for name in given]


def named_run(given: str) -> NamedRun:
    """Find out what a name stands for, without loading it.

    Raises:
        FileNotFoundError: there is no such file or folder, or an evaluation's checkpoint is gone.
        ValueError: a config that cannot be read.
    """
    path = Path(given)
    if is_exported(given):
        if not path.exists():
            raise FileNotFoundError(no_such_file(given))
        return NamedRun(given, given)
    if path.is_dir() and not is_own_checkpoint(path) and (path / "config.yaml").is_file():
        return _of_evaluation(given, path)
    if not is_own_checkpoint(path):
        return NamedRun(given, given)
    return NamedRun(given, given, find_checkpoint(path).parent.parent, trained_config(path))


def _of_evaluation(given: str, folder: Path) -> NamedRun:
    from mnv2dense.inference.tta import TTA  # with torch: other names are told apart at once

    config = read_yaml(folder / "config.yaml")
    checkpoint = config.get("checkpoint") if isinstance(config, dict) else None
    if checkpoint is None:
        raise FileNotFoundError(
            f"{given}: holds neither a checkpoint nor an evaluation; give a run folder, one of evaluate.py, a .ckpt "
            "file or an exported file."
        )
    # Only what lies here: no folder's config shall have anything fetched.
    if not Path(str(checkpoint)).exists():
        raise FileNotFoundError(
            f"{given}: it scored checkpoint={checkpoint}, which is not there (looked from {Path.cwd()}); "
            "give that checkpoint itself."
        )
    found = named_run(str(checkpoint))
    viewing = {"output_stride": config["output_stride"]} if config.get("output_stride") is not None else {}
    if isinstance(asked := config.get("test_time"), Mapping) and TTA.of(asked) is not None:
        viewing["test_time"] = asked
    return NamedRun(given, found.model, found.folder, found.config, viewing)


def grouped(runs: Sequence[NamedRun]) -> list[list[int]]:
    """Places of runs, together where their known configs differ in the seed alone; in the order of the first."""
    groups: list[list[int]] = []
    for place, run in enumerate(runs):
        for group in groups:
            if _is_another_seed(run, [runs[other] for other in group]):
                group.append(place)
                break
        else:
            groups.append([place])
    return groups


def _is_another_seed(run: NamedRun, group: Sequence[NamedRun]) -> bool:
    seeds = [other.seed for other in group]
    return run.seed is not None and None not in seeds and run.seed not in seeds and run.options() == group[0].options()


def option_differences(runs: Sequence[NamedRun]) -> tuple[tuple[str, tuple[str | None, ...]], ...]:
    """Options in which runs differ, and what each has; None of one whose config has no such option, or is not known."""
    options = [run.options() if run.config is not None else None for run in runs]
    known = [each for each in options if each is not None]
    keys = dict.fromkeys(key for each in known for key in each)
    return tuple(
        (key, tuple(None if each is None else each.get(key) for each in options))
        for key in keys
        if len({each.get(key) for each in known}) > 1
    )


def _is_place(key: str) -> bool:
    return any(key == place or key.startswith(f"{place}.") for place in _PLACES)


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _as_typed(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_as_typed, value))}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)
