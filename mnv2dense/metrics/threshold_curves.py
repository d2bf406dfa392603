"""Precision, recall and F1 of boxes over the score from which on they are shown, and where F1 is best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.metrics.box_hits import Hits, hits
from mnv2dense.types.thresholds import Thresholds

LEAST_IOU = 0.5
"""Of a box and the object that it finds."""

LEAST_OBJECTS = 20
"""Of a class, for a threshold of its own."""

_OBJECTS_OF_ALL = 50
"""As how many objects of a class those of all classes together count when its threshold is chosen.

The best threshold of a hundred objects alone says more of these objects than of the class: on other images it does
worse than the one for all. docs/thresholds.md has the figures.
"""

_THRESHOLDS = np.arange(5, 100) / 100

FloatArray = npt.NDArray[np.float64]


class BestThreshold(NamedTuple):
    """The score from which on boxes that are right and objects that are found are in balance.

    Attributes:
        threshold: of scores, in hundredths.
        f1: 2 TP / (2 TP + FP + FN) of the boxes from there on, at IoU 0.5; of all classes, averaged over those that
            have objects.
    """

    threshold: float
    f1: float


class ThresholdCurves(NamedTuple):
    """How T thresholds do, for each of K classes, at IoU 0.5.

    Attributes:
        thresholds: float64 [T], of scores, ascending.
        objects: int64 [K], to be found.
        shown: int64 [T, K], boxes from the threshold on; those in regions to ignore do not count.
        right: int64 [T, K], those of them that found an object.
    """

    thresholds: FloatArray
    objects: npt.NDArray[np.int64]
    shown: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]

    @property
    def precision(self) -> FloatArray:
        """Share of the shown boxes that are right, [T, K]; NaN where none is shown."""
        return _share(self.right, self.shown)

    @property
    def recall(self) -> FloatArray:
        """Share of the objects that are found, [T, K]; NaN of a class without objects."""
        return _share(self.right, np.broadcast_to(self.objects, self.right.shape))

    @property
    def f1(self) -> FloatArray:
        """Their harmonic mean, [T, K]; NaN of a class without objects."""
        there = np.where(self.objects > 0, self.shown + self.objects, 0)
        return _share(2 * self.right, there)

    def best(self) -> BestThreshold | None:
        """One threshold for all: the highest where F1, averaged over classes, is best; None where nothing is right."""
        return self._best_of(mean_of_classes(self.f1)) if (self.objects > 0).any() else None

    def best_of_class(self, label: int) -> BestThreshold | None:
        """A class's own; None where it has fewer than :data:`LEAST_OBJECTS` objects, or nothing is right.

        Chosen from its boxes and objects and, the less the more of these there are, those of all classes.
        """
        if self.objects[label] < LEAST_OBJECTS:
            return None
        weight = _OBJECTS_OF_ALL / self.objects.sum()
        right = self.right[:, label] + weight * self.right.sum(axis=1)
        shown = self.shown[:, label] + weight * self.shown.sum(axis=1)
        f1 = 2 * right / (shown + self.objects[label] + _OBJECTS_OF_ALL)
        return self._best_of(f1, self.f1[:, label])

    def _best_of(self, f1: FloatArray, its_own: FloatArray | None = None) -> BestThreshold | None:
        best = len(f1) - 1 - int(f1[::-1].argmax())  # the highest of several
        value = float((f1 if its_own is None else its_own)[best])
        return BestThreshold(float(self.thresholds[best]), value) if value > 0 else None

    def own_best(self, class_names: Sequence[str]) -> dict[str, float]:
        """Class name -> its own best threshold, of the classes that have one."""
        best = {name: self.best_of_class(label) for label, name in enumerate(class_names)}
        return {name: own.threshold for name, own in best.items() if own is not None}

    def chosen(self, class_names: Sequence[str]) -> Thresholds | None:
        """The best ones as a model keeps them; None where nothing is right."""
        best = self.best()
        return None if best is None else Thresholds(best.threshold, self.own_best(class_names))

    def curves(self, label: int | None = None) -> dict[str, FloatArray]:
        """Precision, recall and F1 [T] by their names, of a class or averaged over those that have objects.

        NaN is what cannot be told.
        """
        values = {"precision": self.precision, "recall": self.recall, "F1": self.f1}
        there = self.objects > 0
        return {name: mean_of_classes(of[:, there]) if label is None else of[:, label] for name, of in values.items()}

    def at(self, threshold: float, label: int | None = None) -> dict[str, float | None]:
        """The same at one of the thresholds; None is what cannot be told."""
        row = int(np.abs(self.thresholds - threshold).argmin())
        return {name: _told(values[row]) for name, values in self.curves(label).items()}

    def to_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """All of it in plain JSON types: the curves and best thresholds of all classes together and of each."""
        own, best = self.own_best(class_names), self.best()
        classes = {
            class_names[label]: {
                "objects": int(self.objects[label]),
                "best_threshold": own.get(class_names[label]),
                **self._as_lists(label),
            }
            for label in np.flatnonzero(self.objects).tolist()
        }
        together = {"objects": int(self.objects.sum()), "best_threshold": best and best.threshold, **self._as_lists()}
        return {"iou": LEAST_IOU, "thresholds": self.thresholds.tolist(), "all": together, "classes": classes}

    def _as_lists(self, label: int | None = None) -> dict[str, list[float | None]]:
        return {name: [_told(value, digits=4) for value in values] for name, values in self.curves(label).items()}


def threshold_curves(found: FoundBoxes, truth: TrueBoxes, count: int, *, went: Hits | None = None) -> ThresholdCurves:
    """Count boxes that are shown and right from each threshold on.

    Args:
        found: boxes of all images.
        truth: their objects.
        count: of classes, K.
        went: what became of the boxes at :data:`LEAST_IOU`, where that is known already.
    """
    went = hits(found, truth, least_iou=LEAST_IOU) if went is None else went
    return ThresholdCurves(
        _THRESHOLDS,
        np.bincount(truth.labels[~truth.crowds], minlength=count),
        _counts(found, ~went.ignored, count),
        _counts(found, went.ious > 0, count),
    )


def mean_of_classes(table: FloatArray) -> FloatArray:
    """The mean over the classes that a threshold can be judged by, [T]; NaN where there is none."""
    told = ~np.isnan(table)
    return _share(np.where(told, table, 0.0).sum(axis=1), told.sum(axis=1))


def _told(value: float, *, digits: int = 17) -> float | None:
    return None if np.isnan(value) else round(float(value), digits)


def _share(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> FloatArray:
    return np.asarray(np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0))


def _counts(found: FoundBoxes, chosen: npt.NDArray[np.bool_], count: int) -> npt.NDArray[np.int64]:
    """How many of the chosen boxes have each label and at least each threshold's score: [thresholds, K]."""
    passed = passing(_THRESHOLDS, found.scores[chosen])
    cells = np.bincount(passed * count + found.labels[chosen], minlength=(len(_THRESHOLDS) + 1) * count)
    table = cells.reshape(-1, count)[1:]  # the first row passes none
    return np.asarray(table[::-1].cumsum(axis=0)[::-1])


def passing(thresholds: FloatArray, scores: FloatArray) -> npt.NDArray[np.int64]:
    """How many of the ascending thresholds each score reaches, as float32: so are results compared with thresholds."""
    return np.searchsorted(thresholds.astype(np.float32), scores.astype(np.float32), side="right")


def reaches(threshold: float, scores: FloatArray) -> npt.NDArray[np.bool_]:
    """Which scores are at least the threshold, compared in the same way."""
    return passing(np.array([threshold]), scores) > 0
