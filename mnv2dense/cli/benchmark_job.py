"""The work of tools/benchmark.py: workers, rounds, the table and the plot."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig
from rich.progress import Progress
from rich.table import Table

from mnv2dense.cli.parts import plain_config
from mnv2dense.cli.shell import console
from mnv2dense.reporting.run_folder import RunFolder, refuse_a_run
from mnv2dense.visualization.plots import plot_tradeoff
from mnv2dense.workflows.benchmarking import BenchmarkRow, benchmark, draw_test_image

log = logging.getLogger(__name__)


def run(config: DictConfig, names: Sequence[str], scores: Sequence[float | None]) -> None:
    """Time all of them in turns, and write table and plot.

    Args:
        config: of conf/benchmark.yaml, checked.
        names: of files, checkpoints and peers.
        scores: that they are known to have, where they are.
    """
    plain = plain_config(config)
    folder = RunFolder.create(config.run_dir, task="benchmark")
    refuse_a_run(folder, "Name another folder for the figures.")
    folder.log_to_file()
    folder.write_config(plain)
    folder.write_environment()
    log.info("loading %s", _models(len(names)))
    with Progress(console=console(), transient=True) as bar:
        job = bar.add_task("timing")
        # Not logged: only what goes through the bar's console leaves the bar whole.
        say_time = time_left(len(names), lambda line: bar.console.print(line, highlight=False))

        def told(done: int, total: int) -> None:
            bar.update(job, completed=done, total=total)
            say_time(done, total)

        rows = benchmark(
            dict(zip(names, scores, strict=True)),
            image=config.image or draw_test_image(folder.path),
            threads=config.threads,
            rounds=config.rounds,
            runs=config.runs,
            batch=config.batch,
            packages=plain["packages"],
            progress=told,
        )
    (folder.path / "benchmark.json").write_text(json.dumps([asdict(row) for row in rows], indent=2))
    (folder.path / "benchmark.md").write_text(markdown(rows, threads=config.threads, batch=config.batch))
    plot_tradeoff(
        [(row.name, row.milliseconds, row.megabytes, row.score) for row in rows], folder.path / "tradeoff.png"
    )
    console().print(_table(rows, config.threads, config.batch))
    print(folder.path)


def time_left(models: int, say: Callable[[str], None]) -> Callable[[int, int], None]:
    """What is told (done, in all) of turns, and says once, when everyone had one, how long the others will take.

    The very first turn is left out, which comes after the loading.

    Args:
        models: so many take turns.
        say: takes the line.
    """
    begun = 0.0

    def told(done: int, total: int) -> None:
        nonlocal begun
        if done == 1:
            begun = time.monotonic()
        elif done == models + 1:
            seconds = (time.monotonic() - begun) / models * (total - done)
            say(f"timing {_models(models)} in turns, about {_duration(seconds)}")

    return told


def _models(count: int) -> str:
    return f"{count} model{'s' if count > 1 else ''}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _cells(row: BenchmarkRow) -> list[str]:
    def shown(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    return [
        row.kind,
        shown(row.megabytes, 1),
        shown(row.milliseconds, 1),
        shown(row.from_file_milliseconds, 1),
        shown(row.images_per_second, 1),
        shown(row.peak_megabytes, 0),
        shown(row.score, 3),
    ]


def _headings(batch: int) -> list[str]:
    return ["model", "runtime", "MB", "ms", "ms from file", f"images/s, batch {batch}", "peak MB", "score"]


def _table(rows: Sequence[BenchmarkRow], threads: int, batch: int) -> Table:
    made = Table(title=f"batch 1, {threads} threads, medians", title_justify="left")
    for heading in _headings(batch):
        made.add_column(heading, justify="left" if heading in ("model", "runtime") else "right", overflow="fold")
    for name, row in zip(_short_names([row.name for row in rows]), rows, strict=True):
        made.add_row(name, *_cells(row))
    return made


def markdown(rows: Sequence[BenchmarkRow], *, threads: int, batch: int) -> str:
    """The table for a page of documentation."""
    lines = [_headings(batch), ["---"] * 8]
    names = _short_names([row.name for row in rows])
    lines += [[name, *_cells(row)] for name, row in zip(names, rows, strict=True)]
    return f"Medians, batch 1, {threads} threads.\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _short_names(names: Sequence[str]) -> list[str]:
    """The last parts of each path, as few as tell them apart."""
    paths = [Path(name).parts for name in names]
    longest = max(map(len, paths), default=1)
    for count in range(1, longest + 1):
        short = ["/".join(parts[-count:]) for parts in paths]
        if len(set(short)) == len(set(names)):
            return short
    return list(names)
