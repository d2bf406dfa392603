"""How a model that was just scored goes wrong, each of its heads: files for the run folder and facts for the report."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mnv2dense.evaluation.box_explanation import explain_boxes
from mnv2dense.evaluation.class_explanation import explain_classes
from mnv2dense.evaluation.mask_explanation import explain_masks
from mnv2dense.evaluation.pixel_calibration import pixel_calibration
from mnv2dense.inference.predictor import Predictor
from mnv2dense.metrics.accuracy import Accuracy
from mnv2dense.metrics.coco_map import CocoMeanAP
from mnv2dense.metrics.joint import JointMetric
from mnv2dense.metrics.mean_iou import MeanIoU
from mnv2dense.metrics.metric_group import MetricGroup
from mnv2dense.protocols import Dataset, JoinedData, MaskDataset, Metric
from mnv2dense.reporting.errors import HeadErrors
from mnv2dense.types import Segmentation
from mnv2dense.utils.files import atomic_write

if TYPE_CHECKING:
    from mnv2dense.visualization.draw import Pixels
    from mnv2dense.visualization.palettes import PaletteChoice

_CASES, _CASES_OF_SEVERAL = 4, 2
"""Pictures of each cause, so that the report stays light enough to be sent."""


class _Head(NamedTuple):
    """One head's metric, its data and where its images are; ``name`` is empty of an only head."""

    name: str
    metric: CocoMeanAP | Accuracy | MeanIoU
    data: Dataset
    places: Mapping[int, int]


def explain(
    folder: Path,
    *,
    predictor: Predictor[Any],
    dataset: Dataset,
    metric: Metric,
    places: Mapping[int, int],
    palette: PaletteChoice = "auto",
) -> list[HeadErrors]:
    """Write errors.json and plots, of several heads into the folder of each; nothing of metrics of other kinds.

    Args:
        folder: of the run.
        predictor: of the model.
        dataset: that it was scored on.
        metric: after ``compute()``.
        places: of the images in the data, by their ids; pictures are of these alone.
        palette: of drawn masks.
    """
    explained = []
    heads = list(_heads(metric, dataset, places))
    for head in heads:
        own = folder / head.name
        own.mkdir(parents=True, exist_ok=True)
        found = _explained(head, own, predictor, dataset, palette, _CASES if len(heads) == 1 else _CASES_OF_SEVERAL)
        if found is None:
            continue
        with atomic_write(own / "errors.json") as file:
            file.write(json.dumps(found.figures, indent=2, ensure_ascii=False).encode(errors="backslashreplace"))
        explained.append(found)
    return explained


def _explained(
    head: _Head, folder: Path, predictor: Predictor[Any], dataset: Dataset, palette: PaletteChoice, cases: int
) -> HeadErrors | None:
    @functools.lru_cache(maxsize=8)
    def image_of(image_id: int) -> tuple[str, Pixels] | None:
        if image_id not in head.places:  # it was not scored, and counts as one where nothing was found
            return None
        sample = dataset[head.places[image_id]]
        return sample.path.name, sample.image

    def scored(image_id: int) -> tuple[str, Pixels]:
        shown = image_of(image_id)
        assert shown is not None
        return shown

    def looked_at(image_id: int) -> tuple[str, Pixels, Segmentation]:
        name, image = scored(image_id)
        found = predictor(image)
        return name, image, found[head.name] if head.name else found

    names = head.data.class_names
    if isinstance(head.metric, CocoMeanAP):
        return explain_boxes(head.metric, names, folder, head=head.name, image_of=image_of, cases=cases)
    if isinstance(head.metric, Accuracy):
        return explain_classes(head.metric, names, folder, head=head.name, image_of=scored, cases=2 * cases)
    assert isinstance(head.data, MaskDataset)
    # Seen at other scales, probabilities are other ones than the model's.
    calibration = None if predictor.test_time else pixel_calibration(predictor.model, dataset, head.name)
    return explain_masks(
        head.metric, names, folder, head=head.name, looked_at=looked_at, truth_of=head.data.mask_of,
        calibration=calibration, cases=cases, palette=palette,
    )  # fmt: skip


def _heads(metric: Metric, dataset: Dataset, places: Mapping[int, int]) -> Iterator[_Head]:
    if isinstance(metric, JointMetric) and isinstance(dataset, JoinedData):
        for name, part in metric.parts.items():
            own = {dataset.id_in(name, image_id): index for image_id, index in places.items()}
            there = {image_id: index for image_id, index in own.items() if image_id is not None}
            yield from (each._replace(name=name) for each in _heads(part, dataset.parts[name], there))
        return
    parts = metric.parts.values() if isinstance(metric, MetricGroup) else [metric]
    known = [each for each in parts if isinstance(each, CocoMeanAP | Accuracy | MeanIoU)]
    if known:
        yield _Head("", known[0], dataset, places)
