"""A model scored on data: what ``tools/evaluate.py`` does once its config is composed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from mnv2dense.data.module import DataModule
from mnv2dense.evaluation.score import check_classes, metric_of, score
from mnv2dense.inference.least_scores import check_threshold, least_scores
from mnv2dense.inference.open_model import open_model
from mnv2dense.metrics.watched import check_metric
from mnv2dense.models.kept_thresholds import file_to_keep_in
from mnv2dense.reporting.run_folder import RunFolder, refuse_a_run
from mnv2dense.types import SHOWN_SCORE
from mnv2dense.types.thresholds import AUTO
from mnv2dense.visualization.palettes import check_palette
from mnv2dense.workflows.choosing import check_choosing, choose
from mnv2dense.workflows.scoring import counted, score_and_report

if TYPE_CHECKING:
    from mnv2dense.inference.tta import TTA
    from mnv2dense.metrics.missed_promise import Promise
    from mnv2dense.metrics.of_boxes import PromisedThresholds
    from mnv2dense.protocols import Dataset, Metric, Model
    from mnv2dense.visualization.palettes import PaletteChoice


@dataclass(frozen=True)
class Evaluation:
    """How well a model does.

    Attributes:
        scores: name -> value; -1 where the data cannot tell.
        folder: where scores, samples and report lie; None if none were asked for.
        metric: holds the results.
        promised: what can be promised of each head for boxes, by its name, "" is an only head; empty where nothing was
            asked for.
        kept_in: the file that keeps the thresholds that were chosen; None where none does.
        not_kept: why none does although ``keep_in`` was asked for, in a sentence.
    """

    scores: Mapping[str, float]
    folder: Path | None
    metric: Metric = field(repr=False)
    promised: Mapping[str, PromisedThresholds] = field(default_factory=dict)
    kept_in: Path | None = None
    not_kept: str = ""


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
    threshold: float | Literal["auto"] = SHOWN_SCORE,
    promise: Promise | None = None,
    keep_in: str | Path | None = None,
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
        threshold: lowest score of the boxes in samples and report; "auto" goes by the thresholds that the model keeps.
        promise: what thresholds shall promise, ``Promise(missed=0.1, confidence=0.95)``: at most a tenth of the objects
            are missed. Data that trained or chose the model promises too much.
        keep_in: the run folder, checkpoint or folder of :func:`mnv2dense.save_pretrained` that the model is of: it is
            rewritten to keep the thresholds chosen here, for the promise or else for the best F1, by which
            ``threshold="auto"`` predicts.

    Raises:
        ValueError: the model's classes are not the data's, thresholds that cannot be kept or promised, or what loading
            and scoring find wrong.
    """
    if keep_in is not None:
        file_to_keep_in(keep_in)
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
    check_threshold(threshold)
    check_choosing(model, promise, keep=keep_in is not None)
    if threshold == AUTO and keep_in is None:
        least_scores(model, threshold, named=named)  # before an hour of scoring
    if isinstance(model, nn.Module):  # as at the end of training: another layout rounds otherwise
        model = model.to(memory_format=torch.channels_last)
    if run_dir is None:
        scores = score(model, data, metric, test_time=test_time, advance=counted(progress, data))
        chosen = choose(metric, model, promise=promise, keep_in=keep_in)
        return Evaluation(scores, None, metric, chosen.promised, chosen.kept_in, chosen.not_kept)
    folder = run_dir if isinstance(run_dir, RunFolder) else RunFolder.create(run_dir, task="evaluate")
    refuse_a_run(folder, "Name another folder for the scores.")
    folder.write_config({"checkpoint": named, "task": model.task} if config is None else config)
    folder.write_environment()
    scores, chosen = score_and_report(
        folder,
        model,
        data,
        metric,
        test_time=test_time,
        progress=progress,
        palette=palette,
        threshold=threshold,
        promise=promise,
        keep_in=keep_in,
    )
    return Evaluation(scores, folder.path, metric, chosen.promised, chosen.kept_in, chosen.not_kept)
