"""Runs compared on the same images: what ``tools/compare.py`` does once its config is composed."""

from __future__ import annotations

import logging
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from mnv2dense.costs.complexity import complexity
from mnv2dense.data.module import DataModule
from mnv2dense.evaluation.comparison import judge
from mnv2dense.evaluation.differing_images import ImageScores, draw_differing
from mnv2dense.evaluation.score import check_classes, metric_of, score
from mnv2dense.evaluation.verdict import notes, verdicts
from mnv2dense.inference.open_model import open_model
from mnv2dense.inference.predictor import Predictor
from mnv2dense.inference.tta import TTA, with_output_stride
from mnv2dense.metrics.bootstrap import draws as drawn_images
from mnv2dense.metrics.weighted_scores import Floats, WeighsImages
from mnv2dense.reporting.compare_page import write_compare_page
from mnv2dense.reporting.comparison import Comparison, Cost, Side, check_numbers
from mnv2dense.reporting.data_name import data_name
from mnv2dense.reporting.named_run import NamedRun, grouped, named_runs, option_differences
from mnv2dense.reporting.training_curves import training_curves
from mnv2dense.runtimes.formats import is_exported, megabytes_of
from mnv2dense.utils.short_names import short_names
from mnv2dense.visualization.plots import plot_curves
from mnv2dense.workflows.benchmarking import benchmark
from mnv2dense.workflows.scoring import counted, legend_of_model

if TYPE_CHECKING:
    from mnv2dense.protocols import Dataset, Metric, Model
    from mnv2dense.visualization.palettes import PaletteChoice

log = logging.getLogger(__name__)


@dataclass
class _Scored:
    """One run and what came of it."""

    run: NamedRun
    model: Model
    metric: Metric
    test_time: TTA | None
    table: dict[str, Floats] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    images: ImageScores = field(default_factory=ImageScores)


def compare(
    runs: Sequence[str | Path],
    data: Dataset,
    *,
    output: str | Path,
    draws: int = 1000,
    seed: int = 0,
    timing: bool = True,
    rounds: int = 10,
    threads: int = 2,
    examples: int = 12,
    batch_size: int = 32,
    num_workers: int | None = None,
    device: str = "auto",
    packages: Sequence[str] = ("mnv2dense",),
    palette: PaletteChoice = "auto",
    data_config: Mapping[str, object] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Comparison:
    """Score runs on the same images, and say which is better, by how much, and how sure that is.

    Args:
        runs: run folders, of trainings or evaluations, checkpoints, names and exported files: two or more. The others
            are compared with the first; those whose configs differ in the seed alone count as one.
        data: what all are scored on.
        output: the folder of compare.html, compare.json, compare.csv and curves.png.
        draws: how often the images are drawn anew.
        seed: of these draws.
        timing: whether models are timed in turns, as :func:`mnv2dense.workflows.benchmark` does.
        rounds: how often it is everyone's turn.
        threads: of exported files, and of all while they are timed.
        examples: how many of the images on which they differ most are drawn.
        batch_size: of scoring.
        num_workers: likewise; None takes the machine's cores, 8 at most.
        device: of scoring, for checkpoints.
        packages: whose classes a checkpoint may name.
        palette: of drawn masks.
        data_config: of the data set, by which it gets its name.
        progress: told (what, done, in all).

    Raises:
        FileNotFoundError: no such run.
        ValueError: fewer than two, one twice, tasks or classes that differ, or a number outside its values.
    """
    check_numbers({"draws": draws, "rounds": rounds, "threads": threads, "examples": examples})
    named = named_runs([str(run) for run in runs])
    tell = progress or (lambda *_: None)
    scored = _opened(named, data, device=device, threads=threads, packages=packages)
    images, weights = 0, np.zeros((0, 0), np.int32)
    for number, each in enumerate(scored, start=1):
        what = f"scoring {number} of {len(scored)}"
        module = _module(each.model, data, batch_size=batch_size, num_workers=num_workers)
        report = counted(partial(tell, what), module)
        score(each.model, module, each.metric, test_time=each.test_time, ranking=each.images, advance=report)
        assert isinstance(each.metric, WeighsImages)
        by_image = each.metric.by_image()
        if number == 1:
            images = len(by_image.image_ids)
            weights = np.concatenate([np.ones((1, images), np.int32), drawn_images(images, draws, seed=seed)])
        each.table, each.classes = by_image.scores(weights), by_image.images_of_classes()
    main = next(name for name in scored[0].metric.headlines if name in scored[0].table)
    if np.isnan([each.table[main][0] for each in scored]).any():
        raise ValueError(f"The validation data have nothing that {main} could be scored by; name others by data=...")
    sides = grouped(named)
    one_configuration = len(sides) == 1
    if one_configuration:
        sides = [[place] for place in sides[0]]
    first = scored[0]
    judged = judge(
        [each.table for each in scored],
        sides,
        headlines=first.metric.headlines,
        images=images,
        images_of_classes=first.classes,
    )
    short = short_names([run.given for run in named])
    shown = [_side(label, places, named, short, scored, main) for label, places in zip(_labels(), sides, strict=False)]
    leaders = [scored[places[0]] for places in sides]
    comparison = Comparison(
        task=first.model.task,
        data=data_name(data_config or {}, type(data)),
        images=images,
        draws=draws,
        score=main,
        sides=tuple(shown),
        verdicts=verdicts(judged, shown, images=images, one_configuration=one_configuration),
        notes=notes(judged, shown, one_configuration=one_configuration),
        rows=judged.rows,
        classes=judged.classes,
        options=option_differences([each.run for each in leaders]),
        costs=tuple(_costs(leaders, timing=timing, rounds=rounds, threads=threads, packages=packages, tell=tell)),
        timed=f"median of {rounds} rounds in turns, one image, {threads} thread{'s' if threads > 1 else ''}"
        if timing
        else "",
    )
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    comparison.write(folder)
    curves = _plot_curves(folder, named, shown, main)
    models = {
        side.label: (Predictor(each.model, device=each.model.device, test_time=each.test_time), each.images)
        for side, each in zip(shown, leaders, strict=True)
    }
    groups, classes = draw_differing(models, data, count=examples, palette=palette)
    legend = legend_of_model(first.model, classes, palette)
    write_compare_page(folder, comparison, pictures=groups, legend=legend, curves=curves)
    return comparison


def _labels() -> Iterator[str]:
    yield from string.ascii_uppercase
    yield from (f"{first}{second}" for first in string.ascii_uppercase for second in string.ascii_uppercase)


def _opened(
    named: Sequence[NamedRun], data: Dataset, *, device: str, threads: int, packages: Sequence[str]
) -> list[_Scored]:
    """Every model, once all of them are known to be comparable."""
    opened: list[_Scored] = []
    for run in named:
        exported = is_exported(run.model)
        model = open_model(
            run.model,
            device="auto" if exported else device,
            threads=threads if exported else None,
            packages=packages,
        )
        if opened and model.task != opened[0].model.task:
            raise ValueError(
                f"{run.given} is for {model.task}, and {named[0].given} for {opened[0].model.task}: only models of one "
                "task can be compared."
            )
        try:
            check_classes(model, _module(model, data))
        except ValueError as error:
            raise ValueError(f"{run.given}: {error}") from error
        if (stride := run.viewing.get("output_stride")) is not None:
            model = with_output_stride(model, stride)
        if isinstance(model, nn.Module):  # as at the end of training: another layout rounds otherwise
            import torch

            model = model.to(memory_format=torch.channels_last)
        opened.append(_Scored(run, model, metric_of(model), TTA.of(run.viewing.get("test_time"))))
    return opened


def _module(model: Model, data: Dataset, *, batch_size: int = 32, num_workers: int | None = 0) -> DataModule:
    return DataModule(
        train=None, val=data, size=model.size, resize=model.resize, batch_size=batch_size, num_workers=num_workers
    )


def _side(
    label: str,
    places: Sequence[int],
    named: Sequence[NamedRun],
    short: Sequence[str],
    scored: Sequence[_Scored],
    main: str,
) -> Side:
    return Side(
        label,
        tuple(named[place].given for place in places),
        tuple(short[place] for place in places),
        tuple(named[place].seed for place in places),
        tuple(float(scored[place].table[main][0]) for place in places),
    )


def _costs(
    leaders: Sequence[_Scored],
    *,
    timing: bool,
    rounds: int,
    threads: int,
    packages: Sequence[str],
    tell: Callable[[str, int, int], None],
) -> Iterator[Cost]:
    """Of the first run of each side: seeds change nothing of it."""
    milliseconds: dict[str, float] = {}
    # What is timed is the file as it is; of a side that looks otherwise that would be another model's time.
    models = list(dict.fromkeys(each.run.model for each in leaders if not each.run.viewing))
    if timing and models:
        rows = benchmark(
            models,
            threads=threads,
            rounds=rounds,
            packages=packages,
            progress=lambda done, total: tell("timing", done, total),
        )
        milliseconds = {row.name: row.milliseconds for row in rows}
    for each in leaders:
        model, taken = each.model, None if each.run.viewing else milliseconds.get(each.run.model)
        if isinstance(model, nn.Module):
            costs = complexity(model, model.size)
            yield Cost(costs.parameters, costs.multiply_adds, 4 * costs.parameters / 1e6, taken, model.size)
        else:
            yield Cost(None, None, megabytes_of(model.files), taken, model.size)


def _plot_curves(folder: Path, named: Sequence[NamedRun], sides: Sequence[Side], main: str) -> Path | None:
    """Loss and main score of every run whose log is there, over one another."""
    labels = {
        run: side.label if len(side.runs) == 1 else f"{side.label}, seed {seed}"
        for side in sides
        for run, seed in zip(side.runs, side.seeds, strict=True)
    }
    curves = {}
    for run in named:
        if run.folder is not None:
            for name, points in training_curves(run.folder, ("train/loss", f"val/{main}")).items():
                curves[f"{labels[run.given]}: {name}"] = points
    return plot_curves(curves, folder / "curves.png") if curves else None
