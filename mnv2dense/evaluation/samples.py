"""Predictions drawn beside the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch

from mnv2dense.data.datasets.joint import JointDataset
from mnv2dense.inference.predictor import Predictor
from mnv2dense.ops.postprocess import JointSelection, PixelSelection
from mnv2dense.protocols import Dataset, Metric, Model
from mnv2dense.reporting.run_folder import RunFolder
from mnv2dense.types import IGNORE_LABEL, SHOWN_SCORE, Classification, Detections, JointResult, Sample, Segmentation
from mnv2dense.utils.spread import evenly
from mnv2dense.visualization.draw import contact_sheet, save_image
from mnv2dense.visualization.palettes import PaletteChoice
from mnv2dense.visualization.results import classes_of, draw_truth_beside, masks_together, with_legend

if TYPE_CHECKING:
    from mnv2dense.visualization.draw import Pixels

    Plain = Detections | Classification | Segmentation
    Result = Plain | JointResult


def report(
    folder: RunFolder,
    *,
    predictor: Predictor,
    dataset: Dataset,
    metric: Metric,
    scores: Mapping[str, float],
    samples: int = 8,
    threshold: float | Literal["auto"] = SHOWN_SCORE,
    palette: PaletteChoice = "auto",
) -> None:
    """Write metrics.json, samples.jpg and what the metric itself has to show into the run folder."""
    folder.write_metrics(scores)
    metric.write(folder.path)
    draw_samples(predictor, dataset, folder.path / "samples.jpg", count=samples, threshold=threshold, palette=palette)


def draw_samples(
    predictor: Predictor,
    dataset: Dataset,
    path: Path,
    *,
    count: int = 8,
    threshold: float | Literal["auto"] = SHOWN_SCORE,
    palette: PaletteChoice = "auto",
) -> None:
    """Predictions beside the truth for ``count`` images, evenly spread over a data set, as one, with one legend."""
    chosen = evenly(len(dataset), count)
    drawn = list(draw_images(predictor, dataset, chosen, threshold=threshold, palette=palette))
    sheet = contact_sheet([image.panels for image in drawn], columns=2)
    classes = set().union(*(image.classes for image in drawn))
    if classes:
        masks, palette = masks_together(masks_of(predictor.model), palette=palette)
        sheet = with_legend(sheet, masks, classes, palette=palette)
    save_image(sheet, path)


class DrawnImage(NamedTuple):
    """Predictions beside the truth.

    Attributes:
        path: of the image.
        panels: uint8 [H, W, 3].
        classes: that masks show in either, the background among them; none where boxes or tags have their names.
    """

    path: Path
    panels: Pixels
    classes: set[int]


def draw_images(
    predictor: Predictor | Mapping[str, Predictor],
    dataset: Dataset,
    indices: Sequence[int],
    *,
    threshold: float | Literal["auto"] = SHOWN_SCORE,
    palette: PaletteChoice = "auto",
) -> Iterator[DrawnImage]:
    """Of these images of a data set, one after the other, predictions beside the truth, without a legend.

    ``threshold`` is the lowest score to draw; "auto" draws all that a predictor with ``threshold="auto"`` gives.
    Several predictors, of the same classes, have a panel each under their names.
    """
    predictors = predictor if isinstance(predictor, Mapping) else {"predictions": predictor}
    model = next(iter(predictors.values())).model
    for index in indices:
        sample = dataset[index]
        truth = _truth_of(sample, dataset, model)
        found = {name: each(sample.image) for name, each in predictors.items()}
        panels = draw_truth_beside(sample.image, truth, found, threshold=threshold, legend=False, palette=palette)
        yield DrawnImage(sample.path, _shown(panels), classes_of(truth, *found.values()))


# Of the panels of one image: a JPEG of several has 65,500 pixels a side at most, and a screen far less.
_LONGEST_SIDE = 4096


def _shown(panels: Pixels) -> Pixels:
    """No larger than anybody looks at."""
    from PIL import Image

    if max(panels.shape[:2]) <= _LONGEST_SIDE:
        return panels
    small = Image.fromarray(panels)
    small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return np.asarray(small, np.uint8)


def masks_of(model: Model) -> dict[str, Segmentation]:
    """Empty masks of the classes of each head for masks, in its colours, to take a legend from; "" is an only head."""
    parts = model.selection.parts if isinstance(model.selection, JointSelection) else {"": model.selection}
    empty = torch.zeros(1, 1, dtype=torch.uint8)
    masks = {name: each for name, each in parts.items() if isinstance(each, PixelSelection)}
    return {name: Segmentation(empty, each.class_names, each.palette) for name, each in masks.items()}


def _truth_of(sample: Sample, dataset: Dataset, model: Model) -> Result:
    if isinstance(dataset, JointDataset):
        return JointResult({name: _truth_of_part(sample, dataset, name, model) for name in dataset.parts})
    return _truth(sample, model.class_names, getattr(model.selection, "palette", None))


def _truth_of_part(sample: Sample, dataset: JointDataset, name: str, model: Model) -> Plain:
    kind, names = dataset.kinds[name], dataset.parts[name].class_names
    if kind.task == "segmentation":
        assert sample.mask is not None
        mask = sample.mask if kind.channel is None else np.ascontiguousarray(sample.mask[..., kind.channel])
        return _truth(sample._replace(boxes=None, labels=None, mask=mask), names, masks_of(model)[name].palette)
    if kind.task == "classification":
        label = (sample.image_labels or {}).get(name)
        labels = np.array([] if label is None else [label], np.int64)
        return _truth(sample._replace(boxes=None, labels=labels, mask=None), names, None)
    assert sample.boxes is not None
    assert sample.labels is not None
    chosen = (sample.labels >= kind.labels.start) & (sample.labels < kind.labels.stop)
    boxes, labels = sample.boxes[chosen], sample.labels[chosen] - kind.labels.start
    return _truth(sample._replace(boxes=boxes, labels=labels, mask=None), names, None)


def _truth(sample: Sample, class_names: tuple[str, ...], palette: tuple[tuple[int, int, int], ...] | None) -> Plain:
    if sample.mask is not None:
        # In the colours of the predictions beside it.
        return Segmentation(torch.from_numpy(sample.mask), class_names, palette)
    assert sample.labels is not None
    labels = torch.from_numpy(sample.labels)
    if sample.boxes is None:
        return Classification(torch.ones(len(labels)), labels, class_names)
    objects = labels != IGNORE_LABEL
    boxes = torch.from_numpy(sample.boxes)[objects]
    return Detections(boxes, torch.ones(len(boxes)), labels[objects], class_names)
