"""A model scored on data: what ``tools/evaluate.py`` does once its config is composed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mnv2dense.data.module import DataModule
from mnv2dense.evaluation.score import check_classes, metric_of, score
from mnv2dense.inference.open_model import open_model
from mnv2dense.metrics.watched import check_metric
from mnv2dense.reporting.run_folder import RunFolder, refuse_a_run
from mnv2dense.visualization.palettes import check_palette
from mnv2dense.workflows.scoring import counted, score_and_report

if TYPE_CHECKING:
    from mnv2dense.inference.tta import TTA
    from mnv2dense.protocols import Dataset, Metric, Model
    from mnv2dense.visualization.palettes import PaletteChoice


@dataclass(frozen=True)
class Evaluation:
    """How well a model does.

    Attributes:
        scores: name -> value; -1 where the data cannot tell.
        folder: where scores, samples and report lie; None if none were asked for.
        metric: holds the results.
    """

    scores: Mapping[str, float]
    folder: Path | None
    metric: Metric = field(repr=False)


def evaluate(
    model: Model | str | Path,
    data: Dataset | DataModule,
    *,
    metric: Metric | None = None,
    test_time: TTA | None = None,
    run_dir: str | Path | RunFolder | None = None,
    config: Mapping[str, Any] | None = None,
    batch_size: int = 32,
    num_workers: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    packages: Sequence[str] = ("mnv2dense",),
    progress: Callable[[int, int], None] | None = None,
    palette: PaletteChoice = "auto",
) -> Evaluation:
    """Score a model, a checkpoint or an exported file.

    Args:
        model: in eval mode; or a run folder, checkpoint, name or exported file, which is loaded here.
        data: a data set; or a data module, whose validation data counts.
        metric: None takes the task's own.
        test_time: how a segmentation model looks at images; None looks as it was trained to.
        run_dir: where metrics.json, samples and the report are written; None writes nothing.
        config: what ``config.yaml`` there says; None writes what is known here.
        batch_size: of a data set that is given by itself.
        num_workers: likewise; None takes the machine's cores, 8 at most.
        device: of a model that is loaded here.
        threads: of an exported file that is loaded here.
        packages: whose classes a checkpoint that is loaded here may name.
        progress: told (done, in all) after each batch.
        palette: of masks in samples and report, see :data:`mnv2dense.visualization.palettes.PaletteChoice`.

    Raises:
        ValueError: the model's classes are not the data's, or what loading and scoring find wrong.
    """
    named: str | None = None
    if isinstance(model, str | Path):
        named = str(model)
        model = open_model(named, device=device, threads=threads, packages=packages)
    if not isinstance(data, DataModule):
        data = DataModule(
            train=None,
            val=data,
            size=model.size,
            resize=model.resize,
            batch_size=batch_size,
            num_workers=num_workers,
        )
    check_classes(model, data)
    metric = metric or metric_of(model)
    check_metric(metric)
    check_palette(palette)
    if isinstance(model, nn.Module):  # as at the end of training: another layout rounds otherwise
        model = model.to(memory_format=torch.channels_last)
    if run_dir is None:
        scores = score(model, data, metric, test_time=test_time, advance=counted(progress, data))
        return Evaluation(scores, None, metric)
    folder = run_dir if isinstance(run_dir, RunFolder) else RunFolder.create(run_dir, task="evaluate")
    refuse_a_run(folder, "Name another folder for the scores.")
    folder.write_config({"checkpoint": named, "task": model.task} if config is None else config)
    folder.write_environment()
    scores = score_and_report(folder, model, data, metric, test_time=test_time, progress=progress, palette=palette)
    return Evaluation(scores, folder.path, metric)
