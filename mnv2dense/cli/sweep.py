"""``--multirun`` of tools/train.py: a folder for each run, named by what differs, and a table of them in the end."""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnv2dense.cli.words import quoted
from mnv2dense.utils.distributed import is_first_process
from mnv2dense.utils.files import atomic_write
from mnv2dense.utils.text_files import read_yaml

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from rich.table import Table

log = logging.getLogger(__name__)

# What a run's folder says of its place in the sweep.
_NOTE = "sweep.json"

# How the processes that Lightning starts for more GPUs learn which of the runs they belong to.
RUN_VARIABLE = "MNV2DENSE_RUN_OF_SWEEP"

# Some file systems take names of 255 bytes, and paths of 260 letters: enough to tell runs apart, with room beside it.
_LONGEST_NAME = 80


@dataclass(frozen=True)
class Row:
    """One run of a sweep.

    Attributes:
        number: from 1, in the order of the runs.
        folder: of the run.
        changed: option -> value of what differs between runs.
        scores: those that the run was watched by; empty where it did not end.
        failed: why it did not, in one line; empty where it did or nobody knows.
        stopped: after which epoch it was, as others did better; None where it was not.
        monitor: what chose its checkpoint; empty where nobody knows yet.
    """

    number: int
    folder: Path
    changed: Mapping[str, str]
    scores: Mapping[str, float]
    failed: str
    stopped: int | None = None
    monitor: str = ""


@dataclass
class Sweep:
    """What the process that composes the runs knows of them.

    Attributes:
        folder: holds all of it.
        words: of the command line, with what makes Hydra write there, too.
        constant: options that all runs share.
    """

    folder: Path
    words: list[str]
    constant: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, words: Sequence[str]) -> Sweep | None:
        """The sweep that the words ask for; None of a single run.

        Args:
            words: in Hydra's grammar.

        Raises:
            ValueError: several values for ``run_dir``, a folder that holds a sweep already, or ``resume=auto``.
        """
        if not any(word in ("-m", "--multirun") or word == "hydra.mode=MULTIRUN" for word in words):
            return None
        overrides = _parsed(words)
        constant = frozenset(_key(each) for each in overrides if not each.is_sweep_override())
        resumed = [str(each.input_line).partition("=")[2] for each in overrides if _key(each) == "resume"]
        if any("auto" in re.split(r"[(),\s'\"]+", value) for value in resumed):  # alone, or among several
            raise ValueError(
                "resume=auto with --multirun: a sweep does not go on, each begins in a folder of its own. Leave resume "
                "out; to go on with one run, give its folder, as in resume=my_sweep/lr=0.1, without --multirun."
            )
        given = [each for each in overrides if _key(each) in ("run_dir", "hydra.sweep.dir")]
        if any(each.is_sweep_override() for each in given):
            raise ValueError(
                "run_dir= with several values: one folder holds the sweep, and a folder for each run in it, named by "
                "what differs; give one run_dir=."
            )
        folder = next((Path(str(each.value())) for each in given if each.value() is not None), None)
        if folder is None:
            folder = _new_folder(Path("runs", "sweep"))
        elif is_first_process() and (folder / "multirun.yaml").exists():
            raise ValueError(f"run_dir={folder} already holds a sweep, whose runs would mix with these. Name another.")
        # Hydra reads options on one side of its flag alone.
        options = [word for word in words if word not in ("-m", "--multirun")]
        return cls(folder, ["--multirun", *options, f"hydra.sweep.dir={quoted(str(folder))}"], constant)

    def begin(self, number: int, overrides: Iterable[str]) -> Path:
        """Make the folder of a run.

        Args:
            number: of the run, from 1.
            overrides: its options, in Hydra's grammar.
        """
        overrides = list(overrides)
        changed = {
            _key(each): each.get_value_element_as_str()
            for each in _parsed(overrides)
            if _key(each) not in self.constant and not _key(each).startswith("hydra.")
        }
        name = run_name(changed, number)
        folder = next(
            path
            for path in (self.folder / f"{name}{suffix}" for suffix in ("", *(f"_{k}" for k in range(2, 10000))))
            if _made(path)
        )
        _write_note(folder, {"number": number, "changed": changed, "overrides": overrides, "failed": ""})
        os.environ[RUN_VARIABLE] = str(folder)
        log.info("run %d of the sweep: %s", number, ", ".join(f"{key}={value}" for key, value in changed.items()))
        return folder

    def rows(self) -> list[Row]:
        """All runs that began, in their order."""
        return rows_of(self.folder)

    def finish(self) -> str | None:
        """Write table.csv, show the table and the folder, and say which runs failed and how many never began.

        Returns:
            One line for the user where some did.
        """
        if not is_first_process():
            return None
        os.environ.pop(RUN_VARIABLE, None)
        if not (rows := self.rows()):
            return None
        from mnv2dense.cli.shell import console

        _write_table(rows, self.folder / "table.csv")
        _draw(rows, self.folder / "sweep.png")
        asked = _asked_for(self.folder / "multirun.yaml") or len(rows)
        console().print(_table(rows, self.folder, asked=asked))
        failed = [row for row in rows if row.failed]
        for row in failed:
            print(f"{row.folder.name} failed: {row.failed}")
        if (left := asked - len(rows)) > 0:  # the sweep was stopped
            print(f"{left} of {asked} runs never began.")
        print(self.folder)
        if not failed:
            return None
        return (
            f"{len(failed)} of {len(rows)} runs failed ({', '.join(row.folder.name for row in failed)}); "
            f"the others' results are in {self.folder}."
        )


def rows_of(folder: Path) -> list[Row]:
    """All runs of the sweep in a folder that began, in their order."""
    notes = [(path.parent, json.loads(path.read_text("utf-8"))) for path in folder.glob(f"*/{_NOTE}")]
    made = [
        Row(
            note["number"], run, note["changed"], _scores_of(run), note["failed"], note.get("stopped"), _monitor_of(run)
        )
        for run, note in notes
    ]
    return sorted(made, key=lambda row: row.number)


def note_stopped(folder: Path, epoch: int) -> None:
    """What the table says of a run that was stopped after an epoch, as others did better."""
    note = json.loads((folder / _NOTE).read_text("utf-8"))
    _write_note(folder, {**note, "stopped": epoch})


def note_failure(folder: Path, why: str) -> None:
    """What the table says of a run that was stopped by an error."""
    note = json.loads((folder / _NOTE).read_text("utf-8"))
    _write_note(folder, {**note, "failed": " ".join(why.split())})


def words_of_process(words: Sequence[str]) -> list[str]:
    """The words of the one run for which Lightning started this process, given those of the sweep; else the same.

    It gets the command line of the first process, and would begin with the first run again.

    Args:
        words: in Hydra's grammar.
    """
    folder = os.environ.get(RUN_VARIABLE)
    if folder is None or is_first_process():
        return list(words)
    overrides = json.loads(Path(folder, _NOTE).read_text("utf-8"))["overrides"]
    own = [word for word in overrides if word.partition("=")[0].lstrip("+") != "run_dir"]
    added = [word for word in words if word.startswith(("hydra.run.dir=", "hydra.job.name=", "hydra.output_subdir="))]
    return [*own, f"run_dir={quoted(folder)}", *added]


def run_name(changed: Mapping[str, str], number: int) -> str:
    """A folder's name for what differs: ``lr=0.1,seed=2``; short keys where they are unique, and shortened if long."""
    ends = Counter(key.rpartition(".")[2] for key in changed)
    words = []
    for key, value in changed.items():
        short = key.rpartition(".")[2]
        words.append(f"{short if ends[short] == 1 else key}={value.strip(chr(39) + chr(34))}")
    name = re.sub(r"[^\w.+=,-]+", "_", ",".join(words)).strip("_. ")
    if not name:
        return f"run_{number}"
    if len(name.encode()) > _LONGEST_NAME:
        kept = name.encode()[: _LONGEST_NAME - 6].decode(errors="ignore")
        name = f"{kept.rstrip('_.,=')}~{number}"
    return name


def _parsed(words: Iterable[str]) -> list[Override]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_overrides(
        [word for word in words if not word.startswith("-") and "=" in word]
    )


def _asked_for(kept: Path) -> int | None:
    """The runs of a sweep, by the config that all began with; None where another sweeper than Hydra's chooses."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ValueType

    if not kept.is_file():
        return None
    hydra: Any = read_yaml(kept)["hydra"]
    sweeper = hydra["sweeper"]
    if str(sweeper["_target_"]).endswith(".OptunaSweeper"):
        return int(sweeper["n_trials"]) if "n_trials" in sweeper else None
    if not str(sweeper["_target_"]).endswith(".BasicSweeper"):
        return None
    words = [*(f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()), *hydra["overrides"]["task"]]
    overrides = OverridesParser.create().parse_overrides(words)
    # A glob would look into the folders of conf/.
    if any(each.value_type == ValueType.GLOB_CHOICE_SWEEP for each in overrides):
        return None
    batches = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return sum(len(batch) for batch in batches)


def _key(override: Override) -> str:
    return override.get_key_element().lstrip("+~")


def _new_folder(parent: Path) -> Path:
    stem = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    return next(
        path
        for path in (parent / f"{stem}{suffix}" for suffix in ("", *(f"_{k}" for k in range(2, 1000))))
        if _free(path)
    )


def _free(path: Path) -> bool:
    return not path.exists()


def _made(path: Path) -> bool:
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        return False
    return True


def _write_note(folder: Path, note: Mapping[str, Any]) -> None:
    with atomic_write(folder / _NOTE) as file:
        file.write(json.dumps(note, indent=2, ensure_ascii=False).encode())


def _monitor_of(folder: Path) -> str:
    config = folder / "config.yaml"
    kept: Any = read_yaml(config) if config.is_file() else {}
    return str(kept.get("monitor") or "")


def _scores_of(folder: Path) -> dict[str, float]:
    """Of metrics.json, those that the run's config watches, the one that chose the checkpoint first."""
    config, metrics = folder / "config.yaml", folder / "metrics.json"
    if not config.is_file() or not metrics.is_file():
        return {}
    kept: Any = read_yaml(config)
    found = json.loads(metrics.read_text("utf-8"))
    names = dict.fromkeys([kept.get("monitor"), *(kept.get("curves") or ())])
    return {str(name): found[name] for name in names if found.get(name) is not None}


def _write_table(rows: Sequence[Row], path: Path) -> None:
    keys, scores = _columns(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["run", *keys, *scores, "stopped_after_epoch", "failed"])
        for row in rows:
            options = [row.changed.get(key, "") for key in keys]
            values = [row.scores.get(name, "") for name in scores]
            stopped = "" if row.stopped is None else row.stopped
            table.writerow([row.folder.name, *options, *values, stopped, row.failed])


def _draw(rows: Sequence[Row], path: Path) -> None:
    """The score that the runs are chosen by, over the runs and over each option; nothing where none scored."""
    keys, scores = _columns(rows)
    if not scores:
        return
    from mnv2dense.visualization.plots import plot_sweep

    scored = [row for row in rows if scores[0] in row.scores]
    plot_sweep(
        {key: [row.changed.get(key, "") for row in scored] for key in keys},
        [row.scores[scores[0]] for row in scored],
        path,
        numbers=[row.number for row in scored],
        stopped=[row.stopped is not None for row in scored],
        score=scores[0],
    )


def _table(rows: Sequence[Row], folder: Path, *, asked: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    keys, scores = _columns(rows)
    title = f"{len(rows)} runs" if len(rows) >= asked else f"{len(rows)} of {asked} runs"
    made = Table(title=title, title_justify="left", caption=f"also in {folder / 'table.csv'}")
    made.caption_justify = "left"
    for key in keys or ["run"]:
        made.add_column(key)
    for name in scores:
        made.add_column(name, justify="right")
    for row in rows:
        options = [row.changed.get(key, "") for key in keys] or [row.folder.name]
        values = [_shown(row.scores.get(name)) for name in scores]
        if not row.scores:
            said = "failed" if row.failed else "not finished"
            values = [said, *values[1:]] if values else []
        elif row.stopped is not None:
            values[0] = f"{values[0]} (stopped after {row.stopped})"
        made.add_row(*map(Text, [*options, *values]))
    return made


def _shown(value: float | None) -> str:
    return "-" if value is None or value == -1 or not math.isfinite(value) else f"{value:.3f}"


def _columns(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    return (
        list(dict.fromkeys(key for row in rows for key in row.changed)),
        list(dict.fromkeys(name for row in rows for name in row.scores)),
    )
