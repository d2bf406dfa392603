"""Scores of masks and of classes with a weight for each image, of hundreds of sets of weights at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, final, runtime_checkable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.integer]


class WeightedScores(Protocol):
    """What a metric has seen of each image, from which its scores follow for any weights of the images.

    Attributes:
        image_ids: of the P images, in the order of the weights.
    """

    @property
    def image_ids(self) -> tuple[int, ...]:
        """See above; a plain attribute will do."""
        ...

    def scores(self, weights: Weights) -> dict[str, Floats]:
        """Of each set of whole weights [R, P] the scores that :meth:`mnv2dense.protocols.Metric.compute` has.

        An image of weight 2 counts as if it were there twice. NaN, [R] each, where a set leaves nothing to judge by.
        """
        ...

    def images_of_classes(self) -> Mapping[str, int]:
        """Score of a class -> how many images show that class."""
        ...


@runtime_checkable
class WeighsImages(Protocol):
    """A metric whose scores can be had for any weights of the images."""

    def by_image(self) -> WeightedScores:
        """What each image adds; after :meth:`mnv2dense.protocols.Metric.compute`."""
        ...


class PixelCounts(NamedTuple):
    """Pixels of P images and K classes, int64 [P, K] each.

    Attributes:
        right: that are of the class in truth and prediction.
        truth: in truth.
        predicted: in prediction.
        edge_both: of the inner edges of truth and prediction, those in both.
        edge_either: those in one of them.
    """

    right: npt.NDArray[np.int64]
    truth: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    edge_both: npt.NDArray[np.int64]
    edge_either: npt.NDArray[np.int64]


@final
class WeightedIoU:
    """What :class:`mnv2dense.metrics.MeanIoU` computes, of weighted images.

    Args:
        counts: of each image.
        image_ids: P of them.
        class_names: K names.
        boundary: whether edges were counted.
    """

    def __init__(
        self, counts: PixelCounts, *, image_ids: Sequence[int], class_names: Sequence[str], boundary: bool
    ) -> None:
        self.image_ids = tuple(image_ids)
        self._counts = counts
        self._names = tuple(class_names)
        self._boundary = boundary

    def images_of_classes(self) -> dict[str, int]:
        """Score of a class -> how many images show it in truth."""
        shown = (self._counts.truth > 0).sum(axis=0).tolist()
        return {f"IoU/{name}": count for name, count in zip(self._names, shown, strict=True)}

    def scores(self, weights: Weights) -> dict[str, Floats]:
        """See :meth:`WeightedScores.scores`."""
        right, truth, predicted, both, either = (weights.astype(np.float64) @ part for part in self._counts)
        union = truth + predicted - right
        iou = _ratio(right, union)
        pixels = truth.sum(axis=1)
        scores = {
            "mIoU": _mean(iou),
            "pixel_accuracy": _ratio(right.sum(axis=1), pixels),
            "mean_accuracy": _mean(_ratio(right, truth)),
            "fwIoU": _ratio(np.nansum(iou * truth, axis=1), pixels),
        }
        if self._boundary:
            scores["boundary_IoU"] = _mean(_ratio(both, either))
        there = (self._counts.truth + self._counts.predicted).sum(axis=0) > 0
        return scores | {f"IoU/{name}": iou[:, k] for k, name in enumerate(self._names) if there[k]}


@final
class WeightedAccuracy:
    """What :class:`mnv2dense.metrics.Accuracy` computes, of weighted images.

    Args:
        truth: label of each image, int64 [P].
        ranks: the place of the right class among the likeliest, from 0, int64 [P].
        image_ids: P of them.
        class_names: K names.
    """

    def __init__(
        self,
        truth: npt.NDArray[np.int64],
        ranks: npt.NDArray[np.int64],
        *,
        image_ids: Sequence[int],
        class_names: Sequence[str],
    ) -> None:
        self.image_ids = tuple(image_ids)
        self._ranks = ranks
        self._names = tuple(class_names)
        self._of_class = truth[:, None] == np.arange(len(self._names))

    def images_of_classes(self) -> dict[str, int]:
        """Score of a class -> how many images are of it."""
        counts = self._of_class.sum(axis=0).tolist()
        return {f"top1/{name}": count for name, count in zip(self._names, counts, strict=True)}

    def scores(self, weights: Weights) -> dict[str, Floats]:
        """See :meth:`WeightedScores.scores`."""
        weights = weights.astype(np.float64)
        total, right = weights.sum(axis=1), self._ranks == 0
        scores = {"top1": _ratio(weights @ right, total)}
        if len(self._names) > 5:
            scores["top5"] = _ratio(weights @ (self._ranks < 5), total)
        of_class = _ratio(weights @ (self._of_class & right[:, None]), weights @ self._of_class)
        scores["mean_class_accuracy"] = _mean(of_class)
        there = self._of_class.any(axis=0)
        return scores | {f"top1/{name}": of_class[:, k] for k, name in enumerate(self._names) if there[k]}


@final
class WeightedParts:
    """What :class:`mnv2dense.metrics.JointMetric` computes, of weighted images.

    Args:
        parts: name of the head -> scores of its part, and the places that its images have among all.
        image_ids: of all.
        mean: name of the score that is the mean of others.
        of: names of these.
    """

    def __init__(
        self,
        parts: Mapping[str, tuple[WeightedScores, Sequence[int]]],
        *,
        image_ids: Sequence[int],
        mean: str,
        of: Sequence[str],
    ) -> None:
        self.image_ids = tuple(image_ids)
        self._parts = dict(parts)
        self._mean, self._of = mean, tuple(of)

    def images_of_classes(self) -> dict[str, int]:
        """Score of a class, under its head's name -> how many images show it."""
        return {
            f"{name}/{score}": count
            for name, (part, _) in self._parts.items()
            for score, count in part.images_of_classes().items()
        }

    def scores(self, weights: Weights) -> dict[str, Floats]:
        """See :meth:`WeightedScores.scores`."""
        scores = {
            f"{name}/{score}": values
            for name, (part, places) in self._parts.items()
            for score, values in part.scores(weights[:, list(places)]).items()
        }
        return {self._mean: _mean(np.stack([scores[name] for name in self._of], axis=1))} | scores


def _ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> Floats:
    part, whole = part.astype(np.float64), whole.astype(np.float64)
    return np.asarray(np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0))


def _mean(values: Floats) -> Floats:
    """Over the classes of [R, K] that can be told; NaN where none can."""
    told = ~np.isnan(values)
    return _ratio(np.where(told, values, 0.0).sum(axis=1), told.sum(axis=1))
