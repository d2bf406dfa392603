"""Predictions drawn beside the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mnv2dense.inference.predictor import Predictor
from mnv2dense.protocols import Dataset, Metric, Model
from mnv2dense.reporting.run_folder import RunFolder
from mnv2dense.types import IGNORE_LABEL, SHOWN_SCORE, Classification, Detections, Sample, Segmentation
from mnv2dense.utils.spread import evenly
from mnv2dense.visualization.draw import contact_sheet, save_image
from mnv2dense.visualization.results import draw_truth_beside

if TYPE_CHECKING:
    from mnv2dense.visualization.draw import Pixels


def report(
    folder: RunFolder,
    *,
    predictor: Predictor,
    dataset: Dataset,
    metric: Metric,
    scores: Mapping[str, float],
    samples: int = 8,
) -> None:
    """Write metrics.json, samples.jpg and what the metric itself has to show into the run folder."""
    folder.write_metrics(scores)
    metric.write(folder.path)
    draw_samples(predictor, dataset, folder.path / "samples.jpg", count=samples)


def draw_samples(
    predictor: Predictor, dataset: Dataset, path: Path, *, count: int = 8, threshold: float = SHOWN_SCORE
) -> None:
    """Predictions beside the truth for ``count`` pictures, evenly spread over a data set, as one picture."""
    drawn = draw_images(predictor, dataset, evenly(len(dataset), count), threshold=threshold)
    save_image(contact_sheet([panels for _, panels in drawn], columns=2), path)


def draw_images(
    predictor: Predictor, dataset: Dataset, indices: Sequence[int], *, threshold: float = SHOWN_SCORE
) -> Iterator[tuple[Path, Pixels]]:
    """Of these pictures of a data set, one after the other: the path, and predictions beside the truth."""
    for index in indices:
        sample = dataset[index]
        truth = _truth_of(sample, predictor.model)
        yield sample.path, draw_truth_beside(sample.image, truth, predictor(sample.image), threshold=threshold)


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
