"""A model scored on a data set, and what a run folder shows of it; the same for training's end and for evaluate.py."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.table import Table
from torch.utils.data import DataLoader

from mnv2dense.ops.boxes import xywh_to_xyxy
from mnv2dense.class_lists import Palette
from mnv2dense.data.collate import collate, prepare
from mnv2dense.data.module import DataModule
from mnv2dense.data.sampler import EpochSampler
from mnv2dense.visualization.draw import contact_sheet, save_picture
from mnv2dense.visualization.results import draw_truth_beside
from mnv2dense.runtimes.exported_model import ExportedModel
from mnv2dense.ops.resize import boxes_to_input, fit
from mnv2dense.heads.ssdlite import SSDLiteHead
from mnv2dense.ops.matching import anchor_recall
from mnv2dense.metrics.accuracy import Accuracy
from mnv2dense.metrics.coco_map import CocoMeanAP
from mnv2dense.metrics.mean_iou import MeanIoU
from mnv2dense.metrics.image_f1 import SHOWN_SCORE
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.metrics.image_ranking import PictureRanking, ScoresPictures
from mnv2dense.inference.predictor import Predictor
from mnv2dense.reporting.run_folder import RunFolder
from mnv2dense.types import (
    IGNORE_LABEL,
    Batch,
    BoxDataset,
    Classification,
    Dataset,
    Detections,
    Infos,
    Metric,
    Sample,
    Segmentation,
)
from mnv2dense.inference.tta import Viewing, segment

if TYPE_CHECKING:
    from mnv2dense.visualization.draw import Picture

log = logging.getLogger(__name__)


def score(
    model: DenseModel | ExportedModel,
    datamodule: DataModule,
    metric: Metric,
    *,
    device: torch.device | str,
    test_time: Viewing | None = None,
    ranking: PictureRanking | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, float]:
    """Score ``model`` on the validation data; a collective call where several processes share the data.

    Args:
        model: in eval mode, on ``device``; or an exported file, which is on the CPU.
        datamodule: set up; gives ``val`` and its loader.
        metric: bound to the data here; holds the results afterwards.
        device: where to run.
        test_time: how a segmentation model looks at pictures, which it then gets one by one in their own size; None
            looks as it was trained to.
        ranking: takes each picture's own score, where the metric can tell it, and has those of all processes in the
            end.
        advance: told the number of pictures done after each batch, for a progress bar.

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
    indices = (draw.picture for draw in loader.sampler)  # in the order of the batches
    if test_time is not None:
        if isinstance(model, ExportedModel):
            raise ValueError("test_time needs the model itself, and not a file exported from it.")
        for batch in _pictures_of(loader, datamodule.val):
            metric.update([segment(model, batch.images[0], test_time)], batch)
            _rank(ranking, metric, batch, indices)
            advance(1)
    else:
        _predict_all(model, loader, metric, device, ranking=ranking, indices=indices, advance=advance)
    scores = metric.compute()
    if ranking is not None:
        ranking.gather()
    return scores


def report(
    folder: RunFolder,
    *,
    model: DenseModel | ExportedModel,
    datamodule: DataModule,
    metric: Metric,
    scores: Mapping[str, float],
    samples: int = 8,
    test_time: Viewing | None = None,
) -> None:
    """Write metrics.json, samples.jpg and what the metric itself has to show into the run folder."""
    folder.write_metrics(scores)
    metric.write(folder.path)
    draw_samples(model, datamodule, folder.path / "samples.jpg", count=samples, test_time=test_time)


def draw_samples(
    model: DenseModel | ExportedModel,
    datamodule: DataModule,
    path: Path,
    *,
    count: int = 8,
    threshold: float = SHOWN_SCORE,
    test_time: Viewing | None = None,
) -> None:
    """Predictions beside the truth for ``count`` pictures, evenly spread over the validation data."""
    assert datamodule.val is not None
    length = len(datamodule.val)
    count = min(count, length)
    indices = [number * length // count for number in range(count)]
    panels = draw_pictures(model, datamodule.val, indices, threshold=threshold, test_time=test_time)
    save_picture(contact_sheet(list(panels), columns=2), path)


def draw_pictures(
    model: DenseModel | ExportedModel,
    dataset: Dataset,
    indices: Sequence[int],
    *,
    threshold: float = SHOWN_SCORE,
    test_time: Viewing | None = None,
) -> Iterator[Picture]:
    """Predictions beside the truth for these pictures of a data set, one after the other."""
    predictor = Predictor(model, device=device_of(model), test_time=test_time)
    for index in indices:
        sample = dataset[index]
        truth = _truth_of(sample, model.class_names, _palette_of(model))
        yield draw_truth_beside(sample.image, truth, predictor(sample.image), threshold=threshold)


def anchor_bound(model: DenseModel | ExportedModel, dataset: Dataset, *, pictures: int = 500) -> float | None:
    """The share of objects that the head's anchors can meet with IoU 0.5, each object by an anchor of its own.

    Where small objects crowd, no training gets far past it; so it stands beside the score. Crowds are left out.

    Args:
        model: a detector; None comes back for a head without anchors, and for a file, which does not tell them.
        dataset: whose truth is asked.
        pictures: at most so many, evenly spread, are looked at.
    """
    if (
        isinstance(model, ExportedModel)
        or not isinstance(model.head, SSDLiteHead)
        or not isinstance(dataset, BoxDataset)
    ):
        return None
    truth = dataset.coco_ground_truth()
    boxes_of: dict[int, list[list[float]]] = defaultdict(list)
    for annotation in truth["annotations"]:
        if not annotation.get("iscrowd"):
            boxes_of[annotation["image_id"]].append(annotation["bbox"])
    images = [image for image in truth["images"] if boxes_of[image["id"]]]
    chosen = images[:: max(1, len(images) // pictures)]
    met = total = 0.0
    for image in chosen:
        placed = fit(image["height"], image["width"], model.size, model.resize)
        boxes = boxes_to_input(
            xywh_to_xyxy(torch.tensor(boxes_of[image["id"]])),
            torch.tensor([placed.scale_x, placed.scale_y]),
            torch.tensor([placed.offset_x, placed.offset_y]),
        )
        met += len(boxes) * anchor_recall(model.head.anchors.cpu(), boxes)
        total += len(boxes)
    return met / total if total else None


def table(scores: Mapping[str, float], headlines: Mapping[str, str], *, title: str) -> Table:
    """The headline scores as a table for the terminal; a dash where the data set cannot tell."""
    made = Table(title=title, title_justify="left")
    made.add_column("score")
    made.add_column("value", justify="right")
    made.add_column("of what", style="dim")
    for name, meaning in headlines.items():
        if name in scores:
            made.add_row(name, "-" if scores[name] < 0 else f"{scores[name]:.3f}", meaning)
    return made


def device_of(model: DenseModel | ExportedModel) -> torch.device:
    """Where the model is; exported files run on the CPU."""
    return torch.device("cpu") if isinstance(model, ExportedModel) else next(model.parameters()).device


def metric_of(model: DenseModel | ExportedModel) -> Metric:
    """What a model of this task is scored by where nobody says otherwise."""
    metrics: dict[str, type[Metric]] = {
        "detection": CocoMeanAP,
        "classification": Accuracy,
        "segmentation": MeanIoU,
    }
    return metrics[model.task]()


def _predict_all(
    model: DenseModel | ExportedModel,
    loader: DataLoader[Batch],
    metric: Metric,
    device: torch.device | str,
    *,
    ranking: PictureRanking | None,
    indices: Iterator[int],
    advance: Callable[[int], None],
) -> None:
    batches = iter(loader)
    try:
        for on_host in batches:
            batch = _to_device(on_host, device)
            metric.update(model.predict(batch.images, batch.infos), batch)
            _rank(ranking, metric, batch, indices)
            advance(len(batch.images))
    finally:
        del batches  # ends its workers; an error's traceback would keep them, and the process, alive


def _rank(ranking: PictureRanking | None, metric: Metric, batch: Batch, indices: Iterator[int]) -> None:
    """Each picture of a batch that the metric has just taken."""
    if ranking is None or not isinstance(metric, ScoresPictures):
        return
    for image_id in batch.infos.image_ids.tolist():
        index, score = next(indices), metric.picture_score(image_id)
        if score is not None:
            ranking.add(index, score)


def _pictures_of(loader: DataLoader[Batch], dataset: Dataset) -> Iterator[Batch]:
    """This process' share of the data, each picture a batch in its own size."""
    assert isinstance(loader.sampler, EpochSampler)
    for draw in loader.sampler:
        sample = dataset[draw.picture]
        yield collate([prepare(sample, sample.image.shape[:2], "squash")], max_boxes=1)


def _palette_of(model: DenseModel | ExportedModel) -> Palette | None:
    selection = model.description.make_selection() if isinstance(model, ExportedModel) else model.head
    palette: Palette | None = getattr(selection, "palette", None)
    return palette


def _truth_of(
    sample: Sample, class_names: tuple[str, ...], palette: Palette | None
) -> Detections | Classification | Segmentation:
    if sample.mask is not None:
        return Segmentation(torch.from_numpy(sample.mask), class_names, palette)
    assert sample.labels is not None
    labels = torch.from_numpy(sample.labels)
    if sample.boxes is None:
        return Classification(torch.ones(len(labels)), labels, class_names)
    objects = labels != IGNORE_LABEL
    boxes = torch.from_numpy(sample.boxes)[objects]
    return Detections(boxes, torch.ones(len(boxes)), labels[objects], class_names)


def _to_device(batch: Batch, device: torch.device | str) -> Batch:
    return batch._replace(
        images=batch.images.to(device, non_blocking=True),
        infos=Infos(*(part.to(device, non_blocking=True) for part in batch.infos)),
    )
