"""tools/benchmark.py: models, exported files and peers, timed in turns."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.progress import Progress
from rich.table import Table

from mnv2dense.cli.parts import plain_config, refuse_a_run
from mnv2dense.cli.shell import CONSOLE, run_command
from mnv2dense.evaluation.benchmark_worker import BenchmarkWorker
from mnv2dense.io.reading import list_images
from mnv2dense.reporting.run_folder import RunFolder
from mnv2dense.visualization.draw import save_image
from mnv2dense.visualization.plots import plot_tradeoff


@dataclass(frozen=True)
class Row:
    """What one worker showed.

    Attributes:
        name: file or model.
        kind: runtime and precision.
        megabytes: of its files.
        milliseconds: median of one picture, from the input's tensor to the output's.
        from_file_milliseconds: median from the picture's file to results in its pixels.
        images_per_second: in batches.
        peak_megabytes: that its process took at most, from loading on; None where the platform does not tell.
        score: its metric, where one was given.
    """

    name: str
    kind: str
    megabytes: float | None
    milliseconds: float
    from_file_milliseconds: float | None
    images_per_second: float
    peak_megabytes: float | None
    score: float | None


def benchmark() -> None:
    """``mnv2dense-benchmark`` and tools/benchmark.py."""
    run_command("benchmark", _benchmark)


def _benchmark(config: DictConfig) -> None:
    plain = plain_config(config)
    names, scores = _names(plain["models"])
    for key in ("threads", "rounds", "runs", "batch"):
        if not isinstance(plain[key], int) or plain[key] < 1:
            raise ValueError(f"{key}={plain[key]}: a whole number of at least 1 is needed.")
    folder = RunFolder.create(config.run_dir, task="benchmark")
    refuse_a_run(folder, "Name another folder for the figures.")
    folder.log_to_file()
    folder.write_config(plain)
    folder.write_environment()
    image = _image(config.image, folder.path)
    workers: list[BenchmarkWorker] = []
    try:
        for name in names:
            workers.append(BenchmarkWorker(name, image, threads=config.threads, packages=plain["packages"]))
        rows = _measure(workers, scores, rounds=config.rounds, runs=config.runs, batch=config.batch)
    finally:
        for worker in workers:
            worker.close()
    (folder.path / "benchmark.json").write_text(json.dumps([asdict(row) for row in rows], indent=2))
    (folder.path / "benchmark.md").write_text(markdown(rows, threads=config.threads, batch=config.batch))
    plot_tradeoff(
        [(row.name, row.milliseconds, row.megabytes, row.score) for row in rows], folder.path / "tradeoff.png"
    )
    CONSOLE.print(_table(rows, config.threads, config.batch))
    print(folder.path)


def _names(models: Any) -> tuple[list[str], list[float | None]]:  # noqa: ANN401 - whatever a config has
    """Names, and the scores that stand behind them as in ``model.onnx@0.71``."""
    if not isinstance(models, list) or not models:
        raise ValueError(
            "models is empty: name files, checkpoints or peers, as in models=[a.onnx,b.xml,runs/...]; "
            "torchvision:ssdlite320_mobilenet_v3_large is a peer."
        )
    names, scores = [], []
    for model in map(str, models):
        # A path may have an @ of its own.
        name, _, score = ("", "", model) if Path(model).exists() else model.rpartition("@")
        try:
            scores.append(float(score) if name else None)
        except ValueError as error:
            raise ValueError(f"models has {model!r}: what follows @ is the model's score, a number.") from error
        names.append(name or model)
    if len(set(names)) < len(names):
        raise ValueError(f"models={names}: one of them is there twice.")
    return names, scores


def _image(given: str | None, folder: Path) -> Path:
    if given is not None:
        path = Path(given)
        if not path.exists():
            raise FileNotFoundError(f"image={given}: no such picture or folder.")
        found = list_images(path) if path.is_dir() else [path]
        if not found:
            raise ValueError(f"image={given}: the folder holds no pictures.")
        return found[0].absolute()
    import numpy as np

    from mnv2dense.data.shapes.drawing import draw_image

    drawn = folder / "picture.jpg"
    save_image(draw_image(np.random.default_rng(0), 480)[0], drawn)
    return drawn.absolute()


def _measure(
    workers: Sequence[BenchmarkWorker], scores: Sequence[float | None], *, rounds: int, runs: int, batch: int
) -> list[Row]:
    """Everyone a few runs in turn, again and again: what disturbs the machine disturbs all of them."""
    single: list[list[float]] = [[] for _ in workers]
    whole: list[list[float]] = [[] for _ in workers]
    batched: list[list[float]] = [[] for _ in workers]
    with Progress(console=CONSOLE, transient=True) as bar:
        job = bar.add_task("timing", total=rounds * len(workers))
        for _ in range(rounds):
            for index, worker in enumerate(workers):
                single[index] += worker.milliseconds(runs)
                whole[index] += worker.milliseconds_from_file(runs)
                batched[index] += worker.milliseconds(1, batch=batch)
                bar.advance(job)
    return [
        Row(
            name=worker.name,
            kind=worker.kind,
            megabytes=worker.megabytes,
            milliseconds=statistics.median(single[index]),
            from_file_milliseconds=statistics.median(whole[index]) if whole[index] else None,
            images_per_second=1000 * batch / statistics.median(batched[index]),
            peak_megabytes=worker.peak_megabytes(),
            score=scores[index],
        )
        for index, worker in enumerate(workers)
    ]


def _cells(row: Row) -> list[str]:
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
    return ["model", "runtime", "MB", "ms", "ms from file", f"pictures/s, batch {batch}", "peak MB", "score"]


def _table(rows: Sequence[Row], threads: int, batch: int) -> Table:
    made = Table(title=f"batch 1, {threads} threads, medians", title_justify="left")
    for heading in _headings(batch):
        made.add_column(heading, justify="left" if heading in ("model", "runtime") else "right", overflow="fold")
    for name, row in zip(_short_names([row.name for row in rows]), rows, strict=True):
        made.add_row(name, *_cells(row))
    return made


def markdown(rows: Sequence[Row], *, threads: int, batch: int) -> str:
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
