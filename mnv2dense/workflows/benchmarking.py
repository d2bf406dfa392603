"""Models, exported files and peers timed in turns: what ``tools/benchmark.py`` does once its config is composed."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mnv2dense.evaluation.benchmark_worker import BenchmarkWorker
from mnv2dense.io.reading import list_images
from mnv2dense.utils.numbers import is_whole
from mnv2dense.visualization.draw import save_image


@dataclass(frozen=True)
class BenchmarkRow:
    """What one model showed.

    Attributes:
        name: file or model.
        kind: runtime and precision.
        megabytes: of its files.
        milliseconds: median of one image, from the input's tensor to the output's.
        from_file_milliseconds: median from the image's file to results in its pixels; None of a bare network.
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


def benchmark(
    models: Sequence[str | Path] | Mapping[str, float | None],
    *,
    image: str | Path | None = None,
    threads: int = 2,
    rounds: int = 20,
    runs: int = 3,
    batch: int = 8,
    packages: Sequence[str] = ("mnv2dense",),
    progress: Callable[[int, int], None] | None = None,
) -> list[BenchmarkRow]:
    """Time models side by side: everyone a few runs in turn, so that what disturbs the machine disturbs all of them.

    Args:
        models: exported files, checkpoints, names, or peers as ``torchvision:ssdlite320_mobilenet_v3_large``; a mapping
            has each one's score.
        image: a file, or a folder whose first image is taken; None draws one.
        threads: of every runtime.
        rounds: how often it is everyone's turn.
        runs: that each then has.
        batch: images that run together where images a second are counted.
        packages: whose classes a checkpoint may name.
        progress: told (done, in all) after each turn.

    Returns:
        One row a model, in their order; medians.

    Raises:
        FileNotFoundError: no such model or image.
        ValueError: a number below 1, or a model that is named twice.
    """
    for key, value in (("threads", threads), ("rounds", rounds), ("runs", runs), ("batch", batch)):
        if not is_whole(value) or value < 1:
            raise ValueError(f"{key}={value}: a whole number of at least 1 is needed.")
    names = [str(model) for model in models]
    if not names:
        raise ValueError("models is empty: name files, checkpoints or peers.")
    if len(set(names)) < len(names):
        raise ValueError(f"models={names}: one of them is there twice.")
    scores = [models[name] for name in names] if isinstance(models, Mapping) else [None] * len(names)
    workers: list[BenchmarkWorker] = []
    with _image(image) as shown:
        try:
            for name in names:
                workers.append(BenchmarkWorker(name, shown, threads=threads, packages=packages))
            return _measure(workers, scores, rounds=rounds, runs=runs, batch=batch, progress=progress)
        finally:
            for worker in workers:
                worker.close()


def draw_test_image(folder: Path) -> Path:
    """Draw what models see where no image is named, always the same, as ``picture.jpg``."""
    import numpy as np

    from mnv2dense.data.shapes.drawing import draw_image

    drawn = folder / "picture.jpg"
    save_image(draw_image(np.random.default_rng(0), 480)[0], drawn)
    return drawn.absolute()


def _measure(
    workers: Sequence[BenchmarkWorker],
    scores: Sequence[float | None],
    *,
    rounds: int,
    runs: int,
    batch: int,
    progress: Callable[[int, int], None] | None,
) -> list[BenchmarkRow]:
    single: list[list[float]] = [[] for _ in workers]
    whole: list[list[float]] = [[] for _ in workers]
    batched: list[list[float]] = [[] for _ in workers]
    for turn in range(rounds * len(workers)):
        index = turn % len(workers)
        worker = workers[index]
        single[index] += worker.milliseconds(runs)
        whole[index] += worker.milliseconds_from_file(runs)
        batched[index] += worker.milliseconds(1, batch=batch)
        if progress is not None:
            progress(turn + 1, rounds * len(workers))
    return [
        BenchmarkRow(
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


@contextmanager
def _image(given: str | Path | None) -> Iterator[Path]:
    """The file that everyone sees; a drawn one lies in a folder that is removed afterwards."""
    if given is not None:
        path = Path(given)
        if not path.exists():
            raise FileNotFoundError(f"image={given}: no such image or folder.")
        found = list_images(path) if path.is_dir() else [path]
        if not found:
            raise ValueError(f"image={given}: the folder holds no images.")
        yield found[0].absolute()
        return
    with tempfile.TemporaryDirectory() as folder:
        yield draw_test_image(Path(folder))
