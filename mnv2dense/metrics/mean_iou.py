"""Mean intersection over union of masks, at the images' original size, and what else a confusion matrix tells."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, final

import numpy as np
import numpy.typing as npt

from mnv2dense.metrics.image_ranking import ImageScore
from mnv2dense.metrics.mask_errors import ImageErrors, mask_errors
from mnv2dense.metrics.weighted_scores import PixelCounts, WeightedIoU
from mnv2dense.protocols import Dataset, MaskDataset
from mnv2dense.types import IGNORE_INDEX, Batch, Segmentation
from mnv2dense.utils.distributed import gathered, gathered_by_id, rank
from mnv2dense.visualization.plots import plot_confusion

Counts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.uint8]

_DILATION_RATIO = 0.02
"""How far a boundary reaches into its region, as a share of the image's diagonal (Cheng et al. 2021)."""

_CHUNK = 2**22
"""Pixels counted together; fewer would add up 65,536 counts too often."""


class _ImageCounts(NamedTuple):
    """What one image adds; only of the n classes that it shows, because there may be 20,000 images."""

    classes: npt.NDArray[np.uint8]  # [n], ascending
    confusion: Counts  # [n, n]: truth in rows, prediction in columns
    boundary: Counts  # [2, n]: intersection and union


class _Totals(NamedTuple):
    """The sum over all images."""

    confusion: Counts  # [K, K]
    boundary: Counts  # [2, K]


@final
class MeanIoU:
    """mIoU and its companions, the same on any number of processes; implements :class:`mnv2dense.protocols.Metric`.

    Pixels are counted over all images, at original size, and then divided: ``mIoU``, ``pixel_accuracy``,
    ``mean_accuracy``, ``fwIoU`` (Long et al. 2015, section 5), ``boundary_IoU`` (Cheng et al. 2021) and
    ``IoU/<class name>``; all 0..1. Ignored pixels count nowhere. A class counts in mIoU if any pixel shows it in truth
    or in prediction; in ``mean_accuracy`` if in truth. One that occurs in neither has no key, so that averages and
    plots over ``IoU/*`` stay honest; scores of which the data cannot tell (no pixel that counts) are -1.

    Images that were never given to :meth:`update` do not count; one given twice (a sampler that pads its shards does
    that) counts once, by its first results.

    Args:
        boundary: also compute ``boundary_IoU``: the IoU of the two regions' inner edges, 2% of the diagonal wide. It
            tells thin or ragged outlines from good ones where areas hardly differ. What a prediction says of ignored
            pixels is taken for ignored, too, so both regions have the same edge towards them. And what
            :meth:`errors` tells.
    """

    _HEADLINES: ClassVar[dict[str, str]] = {
        "mIoU": "intersection over union, averaged over classes",
        "pixel_accuracy": "share of all pixels that are right",
        "mean_accuracy": "share of a class's pixels that are right, averaged",
        "fwIoU": "IoU weighted by how often classes occur",
        "boundary_IoU": "IoU of the regions' inner edges, averaged",
    }
    curves: ClassVar[tuple[str, ...]] = ("mIoU", "pixel_accuracy")

    image_meaning: ClassVar[str] = "IoU averaged over the classes of the image's truth and prediction"

    def __init__(self, *, boundary: bool = True) -> None:
        self._boundary = boundary
        self._dataset: MaskDataset | None = None
        self._names: tuple[str, ...] = ()
        self._images: dict[int, _ImageCounts] = {}
        self._errors: dict[int, ImageErrors] = {}
        self._totals: _Totals | None = None

    @property
    def headlines(self) -> Mapping[str, str]:
        """The scores that a table shows."""
        return {name: text for name, text in self._HEADLINES.items() if self._boundary or name != "boundary_IoU"}

    def score_names(self, dataset: Dataset) -> list[str]:
        """What :meth:`compute` can return: the headlines, then ``IoU/<class name>`` of every class."""
        return [*self.headlines, *(f"IoU/{name}" for name in dataset.class_names)]

    def bind(self, dataset: Dataset) -> None:
        """Take the data set whose masks are the truth, and forget all results.

        Raises:
            ValueError: it has no masks, or two classes share a name.
        """
        if not isinstance(dataset, MaskDataset):
            raise ValueError(f"{type(dataset).__name__} has no masks to score mIoU on; choose data of masks.")
        names = tuple(dataset.class_names)
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(
                f"class name {repeated[0]!r} stands for more than one class, so its IoU would be ambiguous; "
                "give every class its own name."
            )
        self._dataset = dataset
        self._names = names
        self.reset()

    def reset(self) -> None:
        """Forget all results; keep the truth."""
        self._images = {}
        self._errors = {}
        self._totals = None

    def update(self, results: Sequence[Segmentation], batch: Batch) -> None:
        """Take one batch's masks, in the order of ``batch.infos.image_ids``.

        Raises:
            RuntimeError: no data set is bound.
            ValueError: a result has another size than the truth, or either has a label that the data set lacks; the
                message names the image.
        """
        dataset = self._bound()
        image_ids = batch.infos.image_ids.tolist()
        if len(results) != len(image_ids):
            raise ValueError(f"{len(results)} results for a batch of {len(image_ids)} images; give one for each.")
        truths = batch.truths or (None,) * len(image_ids)
        for image_id, result, packed in zip(image_ids, results, truths, strict=True):
            if image_id in self._images:
                continue
            truth = dataset.mask_of(image_id) if packed is None else packed.unpack()  # read once, by the loader
            predicted = result.labels.cpu().numpy()
            try:
                self._images[image_id] = _compare(truth, predicted, len(self._names), boundary=self._boundary)
                if self._boundary:
                    self._errors[image_id] = mask_errors(truth, predicted)
            except ValueError as error:
                raise ValueError(f"image {image_id} ({dataset.path_of(image_id)}): {error}") from error

    def image_score(self, image_id: int) -> ImageScore | None:
        """The image's own mIoU, over the classes that it shows in truth or prediction; None if all is ignored."""
        confusion = self._images[image_id].confusion
        if not confusion.any():
            return None
        right = np.diag(confusion)
        return ImageScore(_mean(_ratio(right, confusion.sum(axis=0) + confusion.sum(axis=1) - right)), len(confusion))

    def compute(self) -> dict[str, float]:
        """Scores over the images of all processes; every process must call it, all get the same values.

        Raises:
            RuntimeError: no data set is bound.
        """
        self._bound()
        self._totals = _sum_over_processes(self._images, len(self._names))
        self._errors = gathered_by_id(self._errors)
        confusion, boundary = self._totals
        occurrences, right = confusion.sum(axis=1), np.diag(confusion)
        union = occurrences + confusion.sum(axis=0) - right
        iou = _ratio(right, union)
        scores = {
            "mIoU": _mean(iou),
            "pixel_accuracy": float(right.sum() / occurrences.sum()) if occurrences.any() else -1.0,
            "mean_accuracy": _mean(_ratio(right, occurrences)),
            "fwIoU": float(np.nansum(iou * occurrences) / occurrences.sum()) if occurrences.any() else -1.0,
        }
        if self._boundary:
            scores["boundary_IoU"] = _mean(_ratio(*boundary))
        return scores | {f"IoU/{name}": float(iou[k]) for k, name in enumerate(self._names) if union[k]}

    def by_image(self) -> WeightedIoU:
        """The scores of the same masks for any weights of the images, of this process."""
        order = sorted(self._images)
        counts = PixelCounts(*np.zeros((5, len(order), len(self._names)), np.int64))
        for place, image_id in enumerate(order):
            classes, confusion, boundary = self._images[image_id]
            columns = (np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0), *boundary)
            for total, column in zip(counts, columns, strict=True):
                total[place, classes] = column
        return WeightedIoU(counts, image_ids=order, class_names=self._names, boundary=self._boundary)

    def confusion(self) -> Counts:
        """Pixels by truth (rows) and prediction (columns) at the last :meth:`compute`, [K, K]; not collective.

        Raises:
            RuntimeError: nothing was computed since the last :meth:`reset`.
        """
        if self._totals is None:
            raise RuntimeError("there are no counts yet; call compute() first.")
        return self._totals.confusion

    def errors(self) -> dict[int, ImageErrors]:
        """Where each image is wrong: of all processes after :meth:`compute`; empty where ``boundary`` is off."""
        return self._errors

    def write(self, folder: Path) -> None:
        """confusion.png, and confusion.csv with the pixel counts: a row per true class; after :meth:`compute`."""
        confusion = self.confusion()
        plot_confusion(confusion, self._names, folder / "confusion.png")
        with (folder / "confusion.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["truth / predicted", *self._names])
            table.writerows([name, *row] for name, row in zip(self._names, confusion.tolist(), strict=True))

    def _bound(self) -> MaskDataset:
        if self._dataset is None:
            raise RuntimeError("no data set to score against; call bind(dataset) first.")
        return self._dataset


def _compare(truth: Mask, predicted: Mask, num_classes: int, *, boundary: bool) -> _ImageCounts:
    """Count one image's pixels; masks are uint8 [H, W]."""
    if truth.shape != predicted.shape:
        raise ValueError(
            f"the result is {_size(predicted)} (height x width), but the truth {_size(truth)}; results are scored at "
            "the original image's size, which the mask must have too."
        )
    # All 256 values at once: selecting the pixels that count would take longer than counting all.
    counted = np.zeros(256 * 256, np.int64)
    for start in range(0, truth.size, _CHUNK):  # numpy makes 64 bits of every value that it counts
        both = (part.reshape(-1)[start : start + _CHUNK] for part in (truth, predicted))
        counted += np.bincount(next(both).astype(np.uint16) * 256 + next(both), minlength=256 * 256)
    pairs = counted.reshape(256, 256)
    _check_labels(pairs, num_classes)
    counts = pairs[:num_classes, :num_classes]
    shown = np.flatnonzero(counts.any(axis=0) | counts.any(axis=1))
    edges = np.zeros((2, len(shown)), np.int64)
    if boundary and len(shown):
        edges = _boundary_counts(truth, predicted)[:, shown]
    return _ImageCounts(shown.astype(np.uint8), counts[np.ix_(shown, shown)].astype(np.int64), edges)


def _check_labels(pairs: Counts, num_classes: int) -> None:
    for whose, seen in (("truth", pairs.sum(axis=1)[:IGNORE_INDEX]), ("result", pairs.sum(axis=0))):
        foreign = np.flatnonzero(seen[num_classes:])
        if len(foreign):
            raise ValueError(
                f"the {whose} has label {num_classes + foreign[0]}, but the data set has {num_classes} classes "
                f"(0..{num_classes - 1}{'; 255 is ignored' if whose == 'truth' else ''})."
            )


def _boundary_counts(truth: Mask, predicted: Mask) -> Counts:
    """Pixels of every label in both inner edges, and in either: int64 [2, 256]."""
    predicted = np.where(truth == IGNORE_INDEX, truth, predicted)
    reach = max(1, round(_DILATION_RATIO * math.hypot(*truth.shape)))
    of_truth, of_prediction = _inner_edge(truth, reach), _inner_edge(predicted, reach)
    both = np.bincount(truth[of_truth & of_prediction & (truth == predicted)], minlength=256)
    either = np.bincount(truth[of_truth], minlength=256) + np.bincount(predicted[of_prediction], minlength=256) - both
    return np.stack([both, either])


def _inner_edge(labels: Mask, reach: int) -> npt.NDArray[np.bool_]:
    """Pixels with another label, or the image's end, within ``reach`` rows and columns: bool [H, W].

    The same as eroding the mask of every class by a square of 2 * reach + 1 and taking what vanished, as the paper
    does, but for all classes at once: where the least and the greatest label around are equal, there is just one.
    """
    import cv2

    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    inner = np.zeros(labels.shape, np.bool_)
    middle = np.s_[reach:-reach, reach:-reach]
    inner[middle] = (cv2.erode(labels, square) == cv2.dilate(labels, square))[middle]
    return ~inner


def _sum_over_processes(images: Mapping[int, _ImageCounts], num_classes: int) -> _Totals:
    """The sum over the images of all processes; one that several saw counts where the rank is lowest."""
    seen = gathered(set(images))
    elsewhere = set().union(*seen[: rank()])
    own = _sum((counts for image_id, counts in images.items() if image_id not in elsewhere), num_classes)
    shares = gathered(own)
    none = _sum((), num_classes)
    return _Totals(
        sum((share.confusion for share in shares), none.confusion),
        sum((share.boundary for share in shares), none.boundary),
    )


def _sum(images: Iterable[_ImageCounts], num_classes: int) -> _Totals:
    totals = _Totals(np.zeros((num_classes, num_classes), np.int64), np.zeros((2, num_classes), np.int64))
    for classes, confusion, boundary in images:
        totals.confusion[np.ix_(classes, classes)] += confusion
        totals.boundary[:, classes] += boundary
    return totals


def _ratio(part: Counts, whole: Counts) -> npt.NDArray[np.float64]:
    """Part of whole, 0..1, [K]; NaN where there is nothing to divide by."""
    ratios = np.full(len(whole), np.nan)
    np.divide(part, whole, out=ratios, where=whole > 0)
    return ratios


def _mean(ratios: npt.NDArray[np.float64]) -> float:
    """Mean of what could be told; -1 if nothing could."""
    told = ratios[~np.isnan(ratios)]
    return float(told.mean()) if told.size else -1.0


def _size(mask: Mask) -> str:
    return " x ".join(map(str, mask.shape))
