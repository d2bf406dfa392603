"""The scores of several heads, each on the images that have its truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import final

import torch

from mnv2dense.metrics.image_ranking import ImageScore, ScoresImages
from mnv2dense.metrics.watched import check_metric, score_names, watched
from mnv2dense.metrics.weighted_scores import WeighsImages, WeightedParts
from mnv2dense.protocols import Dataset, JoinedData, Metric
from mnv2dense.types import Batch, Infos, JointResult

MEAN = "mean"
"""The score that chooses: the mean of those by which each head alone would be chosen."""


@final
class JointMetric:
    """A metric for each head; a :class:`mnv2dense.protocols.Metric`.

    A head's scores stand under its name, as ``boxes/AP`` and ``masks/mIoU``. ``mean`` is that of the score of each that
    would choose its checkpoint alone, and chooses the best; ``monitor=boxes/AP`` chooses by one of them.

    Args:
        parts: name of the head -> metric.

    Raises:
        ValueError: no metric, or one that is none.
    """

    def __init__(self, *, parts: Mapping[str, Metric]) -> None:
        if not parts:
            raise ValueError("metric.parts is empty: name a metric for each head, as in metric.parts.boxes.")
        for metric in parts.values():
            check_metric(metric)
        self.parts = dict(parts)
        seen = {name: watched(metric) for name, metric in parts.items()}
        if odd := [name for name, each in seen.items() if each.mode != "max"]:
            raise ValueError(
                f"metric.parts.{odd[0]}: less of {seen[odd[0]].monitor} is better, which no mean can hold."
            )
        self._chosen = [f"{name}/{each.monitor}" for name, each in seen.items()]
        self.monitor = MEAN
        self.curves = (MEAN, *self._chosen)
        self.headlines = {MEAN: f"mean of {' and '.join(self._chosen)}"} | {
            f"{name}/{score}": meaning for name, metric in parts.items() for score, meaning in metric.headlines.items()
        }
        self.lower_is_better = tuple(f"{name}/{score}" for name, each in seen.items() for score in each.lower_is_better)
        self._dataset: JoinedData | None = None
        self._seen: set[int] = set()

    @property
    def image_meaning(self) -> str:
        """What :meth:`image_score` is; empty where the first metric has none."""
        name, metric = next(iter(self.parts.items()))
        meaning = str(getattr(metric, "image_meaning", ""))
        return f"of {name}: {meaning}" if meaning else ""

    def bind(self, dataset: Dataset) -> None:
        """Take the truth of each part; all results are forgotten.

        Raises:
            ValueError: a data set that is not joined, or of other parts.
        """
        if not isinstance(dataset, JoinedData) or dataset.parts.keys() != self.parts.keys():
            given = ", ".join(dataset.parts) if isinstance(dataset, JoinedData) else type(dataset).__name__
            raise ValueError(f"metric: it scores the heads {', '.join(self.parts)}, and the data has {given}.")
        self._dataset = dataset
        self._seen = set()
        for name, metric in self.parts.items():
            metric.bind(dataset.parts[name])

    def reset(self) -> None:
        """Forget all results, keep the truth."""
        self._seen = set()
        for metric in self.parts.values():
            metric.reset()

    def update(self, results: Sequence[JointResult], batch: Batch) -> None:
        """Give each metric the results of the images that its part has."""
        assert self._dataset is not None
        image_ids = batch.infos.image_ids.tolist()
        self._seen.update(image_ids)
        for name, metric in self.parts.items():
            ids = [self._dataset.id_in(name, image_id) for image_id in image_ids]
            rows = [row for row, own in enumerate(ids) if own is not None]
            if rows:
                metric.update([results[row][name] for row in rows], _of_part(batch, name, rows, ids))

    def compute(self) -> dict[str, float]:
        """All scores; a collective call. -1 stands for what the data cannot tell, which ``mean`` leaves out."""
        scores = {
            f"{name}/{score}": value for name, metric in self.parts.items() for score, value in metric.compute().items()
        }
        told = [scores[name] for name in self._chosen if scores[name] >= 0]
        return {MEAN: fmean(told) if told else -1.0} | scores

    def by_image(self) -> WeightedParts:
        """The scores of all parts for any weights of the images, of this process.

        Raises:
            TypeError: one of the metrics cannot tell that.
        """
        assert self._dataset is not None
        order, parts = sorted(self._seen), {}
        for name, metric in self.parts.items():
            if not isinstance(metric, WeighsImages):
                raise TypeError(f"metric.parts.{name}: {type(metric).__name__} has no by_image().")
            own = metric.by_image()
            places = {self._dataset.id_in(name, image_id): place for place, image_id in enumerate(order)}
            parts[name] = own, [places[image_id] for image_id in own.image_ids]
        return WeightedParts(parts, image_ids=order, mean=MEAN, of=self._chosen)

    def score_names(self, dataset: Dataset) -> list[str]:
        """What :meth:`compute` can return."""
        self.bind(dataset)
        assert self._dataset is not None
        parts = self._dataset.parts
        return [
            MEAN,
            *(f"{name}/{score}" for name, metric in self.parts.items() for score in score_names(metric, parts[name])),
        ]

    def image_score(self, image_id: int) -> ImageScore | None:
        """Of the first head; None of an image that it has no truth of."""
        assert self._dataset is not None
        name, metric = next(iter(self.parts.items()))
        own = self._dataset.id_in(name, image_id)
        return metric.image_score(own) if own is not None and isinstance(metric, ScoresImages) else None

    def write(self, folder: Path) -> None:
        """What each has to show, into a folder of its name."""
        for name, metric in self.parts.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            metric.write(folder / name)


def _of_part(batch: Batch, name: str, rows: Sequence[int], ids: Sequence[int | None]) -> Batch:
    """These rows of a batch, as the part's own data would have given them."""
    infos = batch.infos
    own = torch.tensor([ids[row] for row in rows], device=infos.image_ids.device)
    truth = None if batch.parts is None else batch.parts[name]
    truths = None if truth is None else truth.truths
    return batch._replace(
        images=batch.images[list(rows)],
        infos=Infos(own, *(part[list(rows)] for part in infos[1:])),
        boxes=None if truth is None or truth.boxes is None else truth.boxes[list(rows)],
        labels=None if truth is None or truth.labels is None else truth.labels[list(rows)],
        truths=None if truths is None else tuple(truths[row] for row in rows),
        parts=None,
    )
