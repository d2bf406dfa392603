"""Predictions drawn beside the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mnv2dense.data.module import DataModule
from mnv2dense.inference.predictor import Predictor
from mnv2dense.inference.tta import TTA
from mnv2dense.metrics.image_f1 import SHOWN_SCORE
from mnv2dense.protocols import Dataset, Metric, Model
from mnv2dense.reporting.run_folder import RunFolder
from mnv2dense.types import IGNORE_LABEL, Classification, Detections, Sample, Segmentation
from mnv2dense.visualization.draw import contact_sheet, save_image
from mnv2dense.visualization.results import draw_truth_beside

if TYPE_CHECKING:
    from mnv2dense.visualization.draw import Pixels


def report(
    folder: RunFolder,
    *,
    model: Model,
    datamodule: DataModule,
    metric: Metric,
    scores: Mapping[str, float],
    samples: int = 8,
    test_time: TTA | None = None,
) -> None:
    """Write metrics.json, samples.jpg and what the metric itself has to show into the run folder."""
    folder.write_metrics(scores)
    metric.write(folder.path)
    draw_samples(model, datamodule, folder.path / "samples.jpg", count=samples, test_time=test_time)


def draw_samples(
    model: Model,
    datamodule: DataModule,
    path: Path,
    *,
    count: int = 8,
    threshold: float = SHOWN_SCORE,
    test_time: TTA | None = None,
) -> None:
    """Predictions beside the truth for ``count`` pictures, evenly spread over the validation data."""
    assert datamodule.val is not None
    length = len(datamodule.val)
    count = min(count, length)
    indices = [number * length // count for number in range(count)]
    panels = draw_images(model, datamodule.val, indices, threshold=threshold, test_time=test_time)
    save_image(contact_sheet(list(panels), columns=2), path)


def draw_images(
    model: Model,
    dataset: Dataset,
    indices: Sequence[int],
    *,
    threshold: float = SHOWN_SCORE,
    test_time: TTA | None = None,
) -> Iterator[Pixels]:
    """Predictions beside the truth for these pictures of a data set, one after the other."""
    predictor = Predictor(model, device=model.device, test_time=test_time)
    for index in indices:
        sample = dataset[index]
        truth = _truth_of(sample, model)
        yield draw_truth_beside(sample.image, truth, predictor(sample.image), threshold=threshold)


def _truth_of(sample: Sample, model: Model) -> Detections | Classification | Segmentation:
    class_names = model.class_names
    if sample.mask is not None:
        # In the colours of the predictions beside it.
        return Segmentation(torch.from_numpy(sample.mask), class_names, getattr(model.selection, "palette", None))
    assert sample.labels is not None
    labels = torch.from_numpy(sample.labels)
    if sample.boxes is None:
        return Classification(torch.ones(len(labels)), labels, class_names)
    objects = labels != IGNORE_LABEL
    boxes = torch.from_numpy(sample.boxes)[objects]
    return Detections(boxes, torch.ones(len(boxes)), labels[objects], class_names)
