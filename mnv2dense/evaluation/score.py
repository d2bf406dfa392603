"""A model scored on a data set, and what a run folder shows of it; the same for training's end and for evaluate.py."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader

from mnv2dense.data.collate import collate, prepare
from mnv2dense.data.module import DataModule
from mnv2dense.data.sampler import EpochSampler
from mnv2dense.inference.tta import TTA, segment
from mnv2dense.metrics.accuracy import Accuracy
from mnv2dense.metrics.coco_map import CocoMeanAP
from mnv2dense.metrics.image_ranking import ScoresImages, TakesScores
from mnv2dense.metrics.joint import JointMetric
from mnv2dense.metrics.mean_iou import MeanIoU
from mnv2dense.ops.postprocess import JointSelection
from mnv2dense.protocols import Dataset, Metric, Model
from mnv2dense.types import Batch, Infos
from mnv2dense.utils.distributed import gathered_by_id

if TYPE_CHECKING:
    from rich.table import Table

log = logging.getLogger(__name__)


def score(
    model: Model,
    datamodule: DataModule,
    metric: Metric,
    *,
    test_time: TTA | None = None,
    ranking: TakesScores | None = None,
    places: dict[int, int] | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, float]:
    """Score ``model`` on the validation data; a collective call where several processes share the data.

    Args:
        model: in eval mode; runs where it is.
        datamodule: set up; gives ``val`` and its loader.
        metric: bound to the data here; holds the results afterwards.
        test_time: how a segmentation model looks at images, which it then gets one by one in their own size; None
            looks as it was trained to.
        ranking: takes each image's own score, where the metric can tell it, and has those of all processes in the
            end.
        places: takes the place in the data of each image, by its id, and has those of all processes in the end.
        advance: told the number of images done after each batch, for a progress bar.

    Raises:
        ValueError: no validation data, or ``test_time`` for another task.
    """
    if datamodule.val is None:
        raise ValueError("There is no validation data to score on: give data.val.")
    metric.bind(datamodule.val)
    metric.reset()
    loader = datamodule.val_dataloader()
    assert isinstance(loader, DataLoader)
    assert isinstance(loader.sampler, EpochSampler)
    indices = (draw.image for draw in loader.sampler)  # in the order of the batches
    noted: dict[int, int] = {}
    if test_time is not None:
        for batch in _images_of(loader, datamodule.val):
            metric.update([segment(model, batch.images[0], test_time)], batch)
            _note(noted, ranking, metric, batch, indices)
            advance(1)
    else:
        _predict_all(model, loader, metric, noted=noted, ranking=ranking, indices=indices, advance=advance)
    scores = metric.compute()
    if ranking is not None:
        ranking.gather()
    if places is not None:
        places.update(gathered_by_id(noted))
    return scores


def table(scores: Mapping[str, float], headlines: Mapping[str, str], *, title: str) -> Table:
    """The headline scores as a table for the terminal; a dash where the data set cannot tell."""
    from rich.table import Table

    made = Table(title=title, title_justify="left")
    made.add_column("score")
    made.add_column("value", justify="right")
    made.add_column("of what", style="dim")
    for name, meaning in headlines.items():
        if name in scores:
            made.add_row(name, "-" if scores[name] < 0 else f"{scores[name]:.3f}", meaning)
    return made


def metric_of(model: Model) -> Metric:
    """What a model of this task is scored by where nobody says otherwise."""
    metrics: dict[str, type[Metric]] = {
        "detection": CocoMeanAP,
        "classification": Accuracy,
        "segmentation": MeanIoU,
    }
    if isinstance(model.selection, JointSelection):
        return JointMetric(parts={name: metrics[task]() for name, task in model.selection.tasks.items()})
    return metrics[model.task]()


def _predict_all(
    model: Model,
    loader: DataLoader[Batch],
    metric: Metric,
    *,
    noted: dict[int, int],
    ranking: TakesScores | None,
    indices: Iterator[int],
    advance: Callable[[int], None],
) -> None:
    batches = iter(loader)
    try:
        for on_host in batches:
            batch = _to_device(on_host, model.device)
            metric.update(model.predict(batch.images, batch.infos), batch)
            _note(noted, ranking, metric, batch, indices)
            advance(len(batch.images))
    finally:
        del batches  # ends its workers; an error's traceback would keep them, and the process, alive


def _note(
    noted: dict[int, int], ranking: TakesScores | None, metric: Metric, batch: Batch, indices: Iterator[int]
) -> None:
    """Each image of a batch that the metric has just taken."""
    for image_id in batch.infos.image_ids.tolist():
        index = noted[image_id] = next(indices)
        if ranking is None or not isinstance(metric, ScoresImages):
            continue
        score = metric.image_score(image_id)
        if score is not None:
            ranking.add(index, score)


def _images_of(loader: DataLoader[Batch], dataset: Dataset) -> Iterator[Batch]:
    """This process' share of the data, each image a batch in its own size."""
    assert isinstance(loader.sampler, EpochSampler)
    for draw in loader.sampler:
        sample = dataset[draw.image]
        yield collate([prepare(sample, sample.image.shape[:2], "squash", scored=True)], max_boxes=1)


def _to_device(batch: Batch, device: torch.device) -> Batch:
    return batch._replace(
        images=batch.images.to(device, non_blocking=True),
        infos=Infos(*(part.to(device, non_blocking=True) for part in batch.infos)),
    )


def check_classes(model: Model, datamodule: DataModule) -> None:
    """A model is scored on the classes it was trained for.

    Raises:
        ValueError: the data has others, or another order.
    """
    if datamodule.class_names == model.class_names:
        return
    way_on = "Score on data with the classes that the model was trained for, in their order."
    same = sorted(datamodule.class_names) == sorted(model.class_names)
    if same and getattr(datamodule.val, "labels_name_classes", False):
        names = ",".join(_written(name) for name in model.class_names)
        way_on = f"They are the same in another order: set {shlex.quote(f'data.class_names=[{names}]')}, the model's."
    raise ValueError(
        f"The model knows {len(model.class_names)} classes ({_some(model.class_names)}), the data has "
        f"{len(datamodule.class_names)} ({_some(datamodule.class_names)}). {way_on}"
    )


def _written(name: str) -> str:
    """A class name as Hydra's command line gives it back: in quotes, unless it is plain words."""
    if re.fullmatch(r"[A-Za-z]\w*([ -]\w+)*", name, re.ASCII) and name.lower() not in _VALUES:
        return name
    # Within quotes a backslash stands for itself, but before a quote, and at the end.
    return '"' + re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + ('\\"' if found[2] else ""), name) + '"'


_VALUES = ("null", "true", "false", "nan", "inf")  # Hydra's, where they stand without quotes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
