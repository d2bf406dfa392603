"""COCO mean average precision of boxes: the twelve numbers, per class, and the curves behind them.

The protocol is COCO's (cocodataset.org/#detection-eval) as pycocotools implements it. Matching and accumulation
are left to that library or to a faster one proven equal to it (:mod:`mnv2dense.metrics.coco_backends`); averaging is
done here.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, final

import numpy as np
import torch

from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.metrics.box_hits import Hits, hits
from mnv2dense.metrics.box_matches import box_matches
from mnv2dense.metrics.calibration import Calibration, calibration_of_boxes
from mnv2dense.metrics.coco_backends import BACKENDS, Backend, chosen_backend
from mnv2dense.metrics.image_f1 import image_f1
from mnv2dense.metrics.missed_promise import Promise, Promised, promised
from mnv2dense.metrics.threshold_curves import LEAST_IOU, ThresholdCurves, threshold_curves
from mnv2dense.metrics.weighted_ap import WeightedAP
from mnv2dense.protocols import BoxDataset
from mnv2dense.utils.distributed import gathered_by_id, on_first_process
from mnv2dense.utils.files import atomic_write
from mnv2dense.visualization.plots import plot_precision_recall, plot_thresholds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from mnv2dense.metrics.image_ranking import ImageScore
    from mnv2dense.protocols import Dataset
    from mnv2dense.types import Batch, Detections

    FloatArray = npt.NDArray[np.float64]

# Where the averages lie in mnv2dense.metrics.coco_backends.Tables.
_EVERY_IOU, _IOU_50, _IOU_75 = slice(None), 0, 5
_ALL, _SMALL, _MEDIUM, _LARGE = range(4)
_ONE, _TEN, _HUNDRED = range(3)
_AVERAGE_PRECISIONS: dict[str, tuple[slice | int, int]] = {
    "AP": (_EVERY_IOU, _ALL),
    "AP50": (_IOU_50, _ALL),
    "AP75": (_IOU_75, _ALL),
    "APs": (_EVERY_IOU, _SMALL),
    "APm": (_EVERY_IOU, _MEDIUM),
    "APl": (_EVERY_IOU, _LARGE),
}
_AVERAGE_RECALLS = {
    "AR1": (_ALL, _ONE),
    "AR10": (_ALL, _TEN),
    "AR100": (_ALL, _HUNDRED),
    "ARs": (_SMALL, _HUNDRED),
    "ARm": (_MEDIUM, _HUNDRED),
    "ARl": (_LARGE, _HUNDRED),
}


_ROWS_AT_ONCE = 10_000


class PrecisionRecall(NamedTuple):
    """Precision over recall, at most 100 detections per image, all areas.

    Attributes:
        recall: float64 [101], 0, 0.01 .. 1.
        mean: curve name -> precision [101], averaged over the classes that have ground truth; the names are
            "IoU 0.50", "IoU 0.75" and "IoU 0.50:0.95" (averaged over the ten thresholds too).
        per_class: class name -> precision [101] at IoU 0.5; classes without ground truth are left out.
    """

    recall: FloatArray
    mean: dict[str, FloatArray]
    per_class: dict[str, FloatArray]


class _Evaluation(NamedTuple):
    scores: dict[str, float]
    precision: FloatArray  # [T, R, K], all areas, 100 detections


@final
class CocoMeanAP:
    """COCO mAP of boxes, the same on any number of processes; implements :class:`mnv2dense.protocols.Metric`.

    :meth:`compute` returns AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl, in 0..1, and
    ``AP/<class name>`` for every class that has ground truth. One of the twelve is -1 where the data set has
    no object to judge it by (say, no small ones), as in pycocotools; a class without ground truth has no key,
    so that averages and plots over ``AP/*`` stay honest.

    All images of the bound data set count: one that was never given to :meth:`update` is one where nothing
    was found. One given twice (a sampler that pads its shards does that) counts once, by its first results.

    Args:
        backend: which library matches boxes: "hotcoco", "faster_coco_eval" or "pycocotools", from the fastest to the
            reference; the numbers are equal. "auto" is the first where it is installed, else the second.

    Raises:
        ValueError: no such backend.
        ImportError: hotcoco is asked for and not installed.
    """

    headlines: ClassVar[dict[str, str]] = {
        "AP": "IoU 0.50:0.95, all areas",
        "AP50": "IoU 0.50",
        "AP75": "IoU 0.75",
        "APs": "small objects, area < 32\u00b2 px",
        "APm": "medium objects",
        "APl": "large objects, area > 96\u00b2 px",
        "AR1": "recall, 1 box an image",
        "AR10": "recall, 10 boxes an image",
        "AR100": "recall, 100 boxes an image",
        "ARs": "recall, small objects",
        "ARm": "recall, medium objects",
        "ARl": "recall, large objects",
    }
    curves: ClassVar[tuple[str, ...]] = ("AP", "AP50", "AP75")
    image_meaning: ClassVar[str] = (
        "F1 of the boxes: 1 where every object is found and nothing else, near 0 where nothing is right. A box counts "
        "by its score squared, and one that is right also by its IoU"
    )

    def __init__(self, *, backend: Literal[Backend, "auto"] = "auto") -> None:
        self._backend = chosen_backend(backend)
        self._truth: TrueBoxes | None = None
        self._path_of: Callable[[int], Path] | None = None
        self._names: tuple[str, ...] = ()
        self._category_ids: list[int] = []
        # Image id -> its place in the truth.
        self._places: dict[int, int] = {}
        # Image id -> float32 [N, 6]: x1, y1, x2, y2, score, label (exact in float32 up to 2^24 classes).
        self._results: dict[int, npt.NDArray[np.float32]] = {}
        self._evaluation: _Evaluation | None = None
        self._hits: Hits | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the bound data set."""
        return self._names

    @property
    def backend(self) -> Backend:
        """The library that matches boxes."""
        return self._backend

    @property
    def seen(self) -> int:
        """Images with results: of this process before :meth:`compute`, of all processes after it."""
        return len(self._results)

    def score_names(self, dataset: Dataset) -> list[str]:
        """What :meth:`compute` returns: the twelve, and ``AP/<class name>`` of every class that has an object.

        Raises:
            ValueError: the data set has no boxes.
        """
        boxes = _of_boxes(dataset)
        counted = zip(boxes.class_names, boxes.box_counts, strict=True)
        return [*self.headlines, *(f"AP/{name}" for name, count in counted if count)]

    def bind(self, dataset: Dataset) -> None:
        """Take the data set's truth and forget all results.

        Raises:
            ValueError: two classes share a name, or categories and ``class_names`` differ in number.
        """
        dataset = _of_boxes(dataset)
        names, category_ids = tuple(dataset.class_names), [int(each) for each in dataset.category_ids]
        if len(category_ids) != len(names):
            raise ValueError(
                f"the data set has {len(names)} class names but {len(category_ids)} categories; "
                "category_ids must have one for each label, in label order."
            )
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(
                f"class name {repeated[0]!r} stands for more than one class, so its AP would be ambiguous; "
                "give every category its own name."
            )
        self._truth = TrueBoxes.of(dataset)
        self._names, self._category_ids = names, category_ids
        self._places = {image_id: place for place, image_id in enumerate(self._truth.image_ids.tolist())}
        self._path_of = dataset.path_of
        self.reset()

    def reset(self) -> None:
        """Forget all results and the last evaluation; keep the truth."""
        self._results = {}
        self._evaluation = self._hits = None

    def update(self, results: Sequence[Detections], batch: Batch) -> None:
        """Take one batch's detections, in the order of ``batch.infos.image_ids``.

        Raises:
            RuntimeError: no data set is bound.
            ValueError: an unknown image id, a label outside 0..K-1, or a box or score that is not finite;
                the message names the image.
        """
        self._require_truth()
        image_ids = batch.infos.image_ids.tolist()
        if len(results) != len(image_ids):
            raise ValueError(f"{len(results)} results for a batch of {len(image_ids)} images; give one for each.")
        if not image_ids:
            return
        columns = (
            torch.cat([found.boxes for found in results]),
            torch.cat([found.scores for found in results])[:, None],
            torch.cat([found.labels for found in results])[:, None],
        )
        # One transfer a batch: a device would otherwise be waited for three times an image.
        table = torch.cat([column.float() for column in columns], dim=1).detach().cpu().numpy()
        ends = np.cumsum([len(found) for found in results]).tolist()
        self._check(image_ids, ends, table)
        for image_id, start, end in zip(image_ids, [0, *ends], ends, strict=False):
            self._results.setdefault(image_id, table[start:end])

    def image_score(self, image_id: int) -> ImageScore | None:
        """How well the boxes of one image went, see :func:`mnv2dense.metrics.image_f1.image_f1`."""
        truth = self._require_truth()
        found = FoundBoxes.of_tables([self._results[image_id]], [0])
        return image_f1(found, truth.of_image(self._places[image_id]))

    def columns(self) -> tuple[FoundBoxes, TrueBoxes]:
        """All boxes and all objects; those of this process before :meth:`compute`, of all processes after it."""
        return self._found(), self._require_truth()

    def threshold_curves(self) -> ThresholdCurves:
        """How each score does as a threshold, and which are best; after :meth:`compute`."""
        return threshold_curves(self._found(), self._require_truth(), len(self._names), went=self._went())

    def calibration(self) -> Calibration | None:
        """Whether scores say how often boxes find an object at IoU 0.5; None of too few boxes."""
        found, went = self._found(), self._went()
        judged = ~went.ignored
        return calibration_of_boxes(found.scores[judged], went.objects[judged] >= 0, found.images[judged])

    def promised(self, promise: Promise) -> tuple[Promised, dict[str, Promised]]:
        """The thresholds that keep a promise, of all classes together and of each that has objects.

        After :meth:`compute`; see :mod:`mnv2dense.metrics.missed_promise`.
        """
        truth, found, went = self._require_truth(), self._found(), self._went()
        there = np.unique(truth.labels[~truth.crowds]).tolist()
        classes = {self._names[label]: promised(promise, found, truth, went, label=label) for label in there}
        return promised(promise, found, truth, went), classes

    def compute(self) -> dict[str, float]:
        """Scores over the results of all processes; every process must call it, all get the same values.

        Process 0 evaluates. Should that fail, all processes raise, so that none waits for ever.

        Raises:
            RuntimeError: no data set is bound, or (on the other processes) process 0 failed.
        """
        truth = self._require_truth()
        self._results, self._hits = gathered_by_id(self._results), None
        self._evaluation = on_first_process(lambda: self._evaluate(truth), what="compute COCO mAP")
        return dict(self._evaluation.scores)

    def precision_recall(self) -> PrecisionRecall:
        """The curves of the last :meth:`compute`, on every process; not collective.

        Raises:
            RuntimeError: nothing was computed since the last :meth:`reset`.
        """
        if self._evaluation is None:
            raise RuntimeError("there is no evaluation to take curves from; call compute() first.")
        precision = self._evaluation.precision
        present = (precision > -1).all(axis=(0, 1))  # a class without ground truth is -1 throughout
        judged = precision[:, :, present]
        curves = {
            "IoU 0.50": judged[_IOU_50],
            "IoU 0.75": judged[_IOU_75],
            "IoU 0.50:0.95": judged.mean(axis=0),
        }
        mean = {name: curve.mean(axis=1) for name, curve in curves.items()} if present.any() else {}
        per_class = {self._names[k]: precision[_IOU_50, :, k] for k in np.flatnonzero(present)}
        return PrecisionRecall(np.linspace(0.0, 1.0, 101), mean, per_class)

    def by_image(self) -> WeightedAP:
        """The APs of the same results for any weights of the images; after :meth:`compute`."""
        truth = self._require_truth()
        matches = box_matches(self._found(), truth)
        return WeightedAP(matches, image_ids=truth.image_ids.tolist(), class_names=self._names)

    def detections_as_coco(self) -> list[dict[str, Any]]:
        """All results as COCO's result list, with the data set's own category ids; ready for ``json.dump``.

        Sorted by image id. Those of this process before :meth:`compute`, of all processes after it.
        """
        return [
            {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}
            for image_id, category_id, box, score in zip(*self._as_coco(), strict=True)
        ]

    def write(self, folder: Path) -> None:
        """What the scores come from; after :meth:`compute`.

        detections.json, every detection in COCO's format; precision_recall.png; thresholds.png and thresholds.json,
        precision, recall and F1 over the score.
        """
        plot_precision_recall(*self.precision_recall(), folder / "precision_recall.png")
        curves = self.threshold_curves()
        best = curves.best()
        plot_thresholds(
            curves.thresholds,
            curves.curves(),
            {self._names[label]: curves.f1[:, label] for label in np.flatnonzero(curves.objects)},
            folder / "thresholds.png",
            best=best and best.threshold,
            best_of_classes=curves.own_best(self._names),
        )
        with atomic_write(folder / "thresholds.json") as thresholds:
            thresholds.write(json.dumps(curves.to_dict(self._names), ensure_ascii=False).encode() + b"\n")
        columns = self._as_coco()
        with (folder / "detections.json").open("w", encoding="utf-8") as file:
            file.write("[")
            # In pieces: within one call for millions of rows no other thread of the process would have its turn.
            for start in range(0, len(columns[0]), _ROWS_AT_ONCE):
                piece = (column[start : start + _ROWS_AT_ONCE] for column in columns)
                file.write((", " if start else "") + ", ".join(map(_row, *piece)))
            file.write("]")

    def _as_coco(self) -> tuple[list[int], list[int], list[list[float]], list[float]]:
        """Image ids, category ids, boxes and scores of all results."""
        truth, found = self._require_truth(), self._found()
        category_ids = np.array(self._category_ids)[found.labels].tolist()
        return truth.image_ids[found.images].tolist(), category_ids, found.xywh.tolist(), found.scores.tolist()

    def _require_truth(self) -> TrueBoxes:
        if self._truth is None:
            raise RuntimeError("no data set to score against; call bind(dataset) first.")
        return self._truth

    def _check(self, image_ids: list[int], ends: list[int], table: npt.NDArray[np.float32]) -> None:
        """Of the results of a batch, those of image i up to ``ends[i]``."""
        assert self._path_of is not None
        unknown = [image_id for image_id in image_ids if image_id not in self._places]
        if unknown:
            raise ValueError(
                f"image id {unknown[0]} is not one of the {len(self._places)} of the bound data set; "
                "bind the metric to the data set that the batches come from."
            )
        broken = np.asarray(~np.isfinite(table).all(axis=1))
        foreign = (table[:, 5] < 0) | (table[:, 5] >= len(self._names))
        for row in np.flatnonzero(broken | foreign).tolist():
            *box, score, label = (float(value) for value in table[row])
            rule = (
                f"box {box} and score {score}: they must be finite. Look for NaN weights or a diverged loss."
                if broken[row]
                else f"label {label:.0f}: the data set has {len(self._names)} classes, counted from 0."
            )
            index = bisect_right(ends, row)
            image_id, start = image_ids[index], [0, *ends][index]
            raise ValueError(f"image {image_id} ({self._path_of(image_id)}): detection {row - start} has {rule}")

    def _went(self) -> Hits:
        """What became of the boxes at IoU 0.5; compared once, as that takes a second on half a million."""
        if self._hits is None:
            self._hits = hits(self._found(), self._require_truth(), least_iou=LEAST_IOU)
        return self._hits

    def _found(self) -> FoundBoxes:
        """All results, by image id and then as given."""
        order = sorted(self._results)
        return FoundBoxes.of_tables([self._results[each] for each in order], [self._places[each] for each in order])

    def _evaluate(self, truth: TrueBoxes) -> _Evaluation:
        precision, recall = BACKENDS[self._backend](self._found(), truth, len(self._names))
        scores = {name: _mean(precision[iou, ..., area, _HUNDRED]) for name, (iou, area) in _AVERAGE_PRECISIONS.items()}
        scores |= {name: _mean(recall[..., area, limit]) for name, (area, limit) in _AVERAGE_RECALLS.items()}
        precision = np.ascontiguousarray(precision[..., _ALL, _HUNDRED])
        for k, name in enumerate(self._names):
            if (precision[:, :, k] > -1).any():
                scores[f"AP/{name}"] = _mean(precision[:, :, k])
        return _Evaluation(scores, precision)


def _of_boxes(dataset: Dataset) -> BoxDataset:
    """The same data set; an error if it has no boxes."""
    if isinstance(dataset, BoxDataset):
        return dataset
    lacking = [name for name in ("category_ids", "box_counts", "ignored_count") if not hasattr(dataset, name)]
    advice = f"it lacks {', '.join(lacking)}" if hasattr(dataset, "coco_ground_truth") else "choose data of boxes"
    raise ValueError(f"{type(dataset).__name__} has no boxes to score mAP on; {advice}.")


def _row(image_id: int, category_id: int, box: list[float], score: float) -> str:
    """What ``json.dumps`` makes of it, in half the time: its texts of numbers are Python's own."""
    x, y, width, height = box
    return (
        f'{{"image_id": {image_id}, "category_id": {category_id}, "bbox": [{x!r}, {y!r}, {width!r}, {height!r}], '
        f'"score": {score!r}}}'
    )


def _mean(table: FloatArray) -> float:
    """Mean of what could be judged; -1 if nothing could."""
    judged = table[table > -1]
    return float(judged.mean()) if judged.size else -1.0
