"""The work of tools/benchmark.py: workers, rounds, the table and the plot."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from omegaconf import DictConfig
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from mnv2dense.cli.parts import plain_config
from mnv2dense.cli.shell import console
from mnv2dense.reporting.run_folder import RunFolder, refuse_a_run
from mnv2dense.utils.short_names import short_names
from mnv2dense.visualization.plots import plot_tradeoff
from mnv2dense.visualization.text import printable
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
    console().print(table(rows, threads=config.threads, batch=config.batch))
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


def _columns(rows: Sequence[BenchmarkRow], batch: int) -> list[tuple[str, list[str]]]:
    """Heading and cells of each column, without those that have no value at all."""

    def shown(values: Sequence[float | None], digits: int) -> list[str]:
        return ["-" if value is None else f"{value:.{digits}f}" for value in values]

    columns = [
        ("model", short_names([row.name for row in rows])),
        ("runtime", [row.kind for row in rows]),
        ("MB", shown([row.megabytes for row in rows], 1)),
        ("ms", shown([row.milliseconds for row in rows], 1)),
        ("ms from\nfile", shown([row.from_file_milliseconds for row in rows], 1)),
        (f"images/s,\nbatch {batch}", shown([row.images_per_second for row in rows], 1)),
        ("peak\nMB", shown([row.peak_megabytes for row in rows], 0)),
        ("score", shown([row.score for row in rows], 3)),
    ]
    return [(heading, cells) for heading, cells in columns if set(cells) != {"-"}]


def table(rows: Sequence[BenchmarkRow], *, threads: int, batch: int) -> Table:
    """For the terminal: each name in one line; where it has no room, its middle is left out."""
    title = f"batch 1, {threads} threads, medians"
    made = Table(title=title, title_justify="left", box=box.SIMPLE, show_edge=False, padding=(0, 1, 0, 0))
    columns = _columns(rows, batch)
    for heading, _ in columns:
        numbers = heading not in ("model", "runtime")
        made.add_column(heading, justify="right" if numbers else "left", no_wrap=numbers)
    for name, *cells in zip(*(cells for _, cells in columns), strict=True):
        made.add_row(_InOneLine(name), *map(Text, cells))
    return made


class _InOneLine:
    """A name whose middle gives way: beginning and end tell names apart."""

    def __init__(self, name: str) -> None:
        self._name = printable(name)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, max(1, cell_len(self._name))).clamp(max_width=options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        name, room = self._name, options.max_width
        if cell_len(name) > room:
            end = (room - 1) // 2
            name = f"{name[: room - 1 - end]}…{name[len(name) - end :]}"
        yield Text(name, no_wrap=True, overflow="crop")


def markdown(rows: Sequence[BenchmarkRow], *, threads: int, batch: int) -> str:
    """The table for a page of documentation."""
    columns = [[heading.replace("\n", " "), "---", *cells] for heading, cells in _columns(rows, batch)]
    lines = "".join(f"| {' | '.join(line)} |\n" for line in zip(*columns, strict=True))
    return f"Medians, batch 1, {threads} threads.\n\n{lines}"
