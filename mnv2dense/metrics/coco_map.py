"""COCO mean average precision of boxes: the twelve numbers, per class, and the curves behind them.

The protocol is COCO's (cocodataset.org/#detection-eval) as pycocotools implements it. Matching and
accumulation are left to that library or to a faster one proven equal to it; averaging is done here.
"""

from __future__ import annotations

import contextlib
import io
import json
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, final

import numpy as np
import torch

from mnv2dense.metrics.best_threshold import BestThreshold, best_threshold
from mnv2dense.metrics.image_f1 import image_f1
from mnv2dense.protocols import BoxDataset
from mnv2dense.utils.distributed import gathered_by_id, on_first_process
from mnv2dense.visualization.plots import plot_precision_recall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from mnv2dense.metrics.image_ranking import ImageScore
    from mnv2dense.protocols import Dataset
    from mnv2dense.types import Batch, Detections

    FloatArray = npt.NDArray[np.float64]

Backend = Literal["faster_coco_eval", "pycocotools"]

# Axes of the tables that both backends make: precision [T, R, K, A, D] and recall [T, K, A, D] for T IoU
# thresholds 0.5:0.05:0.95, R recalls 0:0.01:1, K classes, A areas and D limits of detections per image.
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
        backend: which library matches boxes; the numbers are equal, pycocotools takes several times as long.
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

    def __init__(self, *, backend: Backend = "faster_coco_eval") -> None:
        if backend not in _BACKENDS:
            raise ValueError(f"backend is {backend!r}, but must be one of {', '.join(_BACKENDS)}.")
        self._backend = backend
        self._truth: dict[str, Any] | None = None
        self._path_of: Callable[[int], Path] | None = None
        self._names: tuple[str, ...] = ()
        self._category_ids: list[int] = []
        # Image id -> its annotations.
        self._objects: dict[int, list[dict[str, Any]]] = {}
        # Image id -> float32 [N, 6]: x1, y1, x2, y2, score, label (exact in float32 up to 2^24 classes).
        self._results: dict[int, npt.NDArray[np.float32]] = {}
        self._evaluation: _Evaluation | None = None

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
        truth = dataset.coco_ground_truth()
        names = tuple(dataset.class_names)
        categories = truth["categories"]
        if len(categories) != len(names):
            raise ValueError(
                f"the data set has {len(names)} class names but {len(categories)} categories; "
                "coco_ground_truth() must list one category per label, in label order."
            )
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(
                f"class name {repeated[0]!r} stands for more than one class, so its AP would be ambiguous; "
                "give every category its own name."
            )
        self._names = names
        self._category_ids = [int(category["id"]) for category in categories]
        self._truth = _own_truth(truth, self._category_ids)
        self._objects = {int(image["id"]): [] for image in truth["images"]}
        for annotation in self._truth["annotations"]:
            self._objects.get(annotation["image_id"], []).append(annotation)
        self._path_of = dataset.path_of
        self.reset()

    def reset(self) -> None:
        """Forget all results and the last evaluation; keep the truth."""
        self._results = {}
        self._evaluation = None

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
        rows = [
            torch.cat([found.boxes.float(), found.scores.float()[:, None], found.labels.float()[:, None]], dim=1)
            for found in results
        ]
        # One transfer a batch: a device would otherwise be waited for three times an image.
        table = torch.cat(rows).detach().cpu().numpy()
        ends = np.cumsum([len(found) for found in results])
        for image_id, found_rows in zip(image_ids, np.split(table, ends[:-1]), strict=True):
            self._check(image_id, found_rows)
            self._results.setdefault(image_id, found_rows)

    def image_score(self, image_id: int) -> ImageScore | None:
        """How well the boxes of one image went, see :func:`mnv2dense.metrics.image_f1.image_f1`."""
        return image_f1(self._results[image_id], self._objects[image_id])

    def best_threshold(self) -> BestThreshold | None:
        """Where F1 is best, see :func:`mnv2dense.metrics.best_threshold.best_threshold`; after :meth:`compute`."""
        self._require_truth()
        nothing = np.zeros((0, 6), np.float32)
        images = ((self._results.get(image_id, nothing), truth) for image_id, truth in self._objects.items())
        return best_threshold(images, len(self._names))

    def compute(self) -> dict[str, float]:
        """Scores over the results of all processes; every process must call it, all get the same values.

        Process 0 evaluates. Should that fail, all processes raise, so that none waits for ever.

        Raises:
            RuntimeError: no data set is bound, or (on the other processes) process 0 failed.
        """
        truth = self._require_truth()
        self._results = gathered_by_id(self._results)
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

    def detections_as_coco(self) -> list[dict[str, Any]]:
        """All results as COCO's result list, with the data set's own category ids; ready for ``json.dump``.

        Sorted by image id. Those of this process before :meth:`compute`, of all processes after it.
        """
        self._require_truth()
        return [
            {
                "image_id": found["image_id"],
                "category_id": self._category_ids[found["category_id"]],
                "bbox": found["bbox"],
                "score": found["score"],
            }
            for found in self._found()
        ]

    def write(self, folder: Path) -> None:
        """detections.json, every detection in COCO's format, and precision_recall.png; after :meth:`compute`."""
        plot_precision_recall(*self.precision_recall(), folder / "precision_recall.png")
        (folder / "detections.json").write_text(json.dumps(self.detections_as_coco()), encoding="utf-8")

    def _require_truth(self) -> dict[str, Any]:
        if self._truth is None:
            raise RuntimeError("no data set to score against; call bind(dataset) first.")
        return self._truth

    def _check(self, image_id: int, rows: npt.NDArray[np.float32]) -> None:
        if image_id not in self._objects or self._path_of is None:
            raise ValueError(
                f"image id {image_id} is not one of the {len(self._objects)} of the bound data set; "
                "bind the metric to the data set that the batches come from."
            )
        broken = np.asarray(~np.isfinite(rows).all(axis=1))
        foreign = (rows[:, 5] < 0) | (rows[:, 5] >= len(self._names))
        for index in np.flatnonzero(broken | foreign):
            *box, score, label = (float(value) for value in rows[index])
            rule = (
                f"box {box} and score {score}: they must be finite. Look for NaN weights or a diverged loss."
                if broken[index]
                else f"label {label:.0f}: the data set has {len(self._names)} classes, counted from 0."
            )
            raise ValueError(f"image {image_id} ({self._path_of(image_id)}): detection {index} has {rule}")

    def _found(self) -> list[dict[str, Any]]:
        """All results as annotations with labels for categories, by image id and then as given."""
        if not self._results:
            return []
        order = sorted(self._results)
        table = np.concatenate([self._results[image_id] for image_id in order]).astype(np.float64)
        image_ids = np.repeat(order, [len(self._results[image_id]) for image_id in order]).tolist()
        labels = table[:, 5].astype(np.int64).tolist()
        sizes = table[:, 2:4] - table[:, :2]
        boxes = np.concatenate([table[:, :2], sizes], axis=1).tolist()
        columns = zip(image_ids, labels, boxes, sizes.prod(axis=1).tolist(), table[:, 4].tolist(), strict=True)
        names = ("id", "image_id", "category_id", "bbox", "area", "score", "iscrowd")
        return [dict(zip(names, (i, *row, 0), strict=True)) for i, row in enumerate(columns, start=1)]

    def _evaluate(self, truth: Mapping[str, Any]) -> _Evaluation:
        precision, recall = _BACKENDS[self._backend](truth, {**truth, "annotations": self._found()})
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


def _own_truth(truth: Mapping[str, Any], category_ids: Sequence[int]) -> dict[str, Any]:
    """The part of the truth that boxes are scored on, with labels as categories; the backends write into it.

    Annotations are numbered anew from 1: both backends take a match with annotation 0 for no match.
    """
    label_of = {category_id: label for label, category_id in enumerate(category_ids)}
    return {
        "images": [{"id": int(image["id"])} for image in truth["images"]],
        "categories": [{"id": label} for label in range(len(category_ids))],
        "annotations": [
            {
                "id": index,
                "image_id": int(annotation["image_id"]),
                "category_id": label_of[annotation["category_id"]],
                "bbox": [float(value) for value in annotation["bbox"]],
                "area": float(annotation["area"]),
                "iscrowd": int(annotation["iscrowd"]),
            }
            for index, annotation in enumerate(truth["annotations"], start=1)
        ],
    }


def _mean(table: FloatArray) -> float:
    """Mean of what could be judged; -1 if nothing could."""
    judged = table[table > -1]
    return float(judged.mean()) if judged.size else -1.0


def _with_faster_coco_eval(truth: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[FloatArray, FloatArray]:
    from faster_coco_eval import COCO, COCOeval_faster

    def silent(*_: object) -> None:
        """Keep progress lines out of the run's log."""

    evaluator = COCOeval_faster(_indexed(COCO(), truth), _indexed(COCO(), found), iouType="bbox", print_function=silent)
    evaluator.evaluate()
    evaluator.accumulate()
    return np.asarray(evaluator.eval["precision"]), np.asarray(evaluator.eval["recall"])


def _with_pycocotools(truth: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[FloatArray, FloatArray]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress and cannot be told not to
        evaluator = COCOeval(_indexed(COCO(), truth), _indexed(COCO(), found), iouType="bbox")
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator.eval["precision"], evaluator.eval["recall"]


def _indexed(coco: Any, dataset: Mapping[str, Any]) -> Any:  # noqa: ANN401 - either library's COCO class
    # Not loadRes: pycocotools' fails on an empty list, and both add a polygon to every box.
    coco.dataset = dataset
    coco.createIndex()
    return coco


_BACKENDS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], tuple[FloatArray, FloatArray]]] = {
    "faster_coco_eval": _with_faster_coco_eval,
    "pycocotools": _with_pycocotools,
}
