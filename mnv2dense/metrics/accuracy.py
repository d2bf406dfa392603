"""Top-1 and top-5 accuracy."""

from __future__ import annotations

import heapq
import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, final

import numpy as np
import numpy.typing as npt
import torch

from mnv2dense.metrics.calibration import MOST_NUMBERS, Calibration, calibration_of_classes
from mnv2dense.metrics.image_ranking import ImageScore
from mnv2dense.metrics.weighted_scores import WeightedAccuracy
from mnv2dense.protocols import Dataset
from mnv2dense.types import Batch, Classification
from mnv2dense.utils.distributed import gathered_by_id
from mnv2dense.visualization.plots import plot_confusion


@final
class Accuracy:
    """How often the right class is the likeliest, or among the five likeliest: a :class:`mnv2dense.protocols.Metric`.

    :meth:`compute` returns ``top1``, ``top5`` (with more than five classes), ``mean_class_accuracy`` over the classes
    that have images, and ``top1/<class name>`` for each of those; all 0..1, or -1 without any result.
    """

    headlines: ClassVar[dict[str, str]] = {
        "top1": "the likeliest class is right",
        "top5": "the right class is among the five likeliest",
        "mean_class_accuracy": "top1 averaged over classes",
    }
    curves: ClassVar[tuple[str, ...]] = ("top1", "mean_class_accuracy")
    image_meaning: ClassVar[str] = "probability of the right class"

    def __init__(self) -> None:
        self._class_names: tuple[str, ...] = ()
        self._paths: Dataset | None = None
        # Image id -> (truth, likeliest, rank of the truth), so that an image that a sampler repeats counts once.
        self._seen: dict[int, tuple[int, int, int]] = {}
        # Image id -> probability of the truth, of this process' images.
        self._probabilities: dict[int, float] = {}
        # Image id -> all probabilities, likeliest first, float32 [K]; of one image in so many, chosen by their ids.
        self._tables: dict[int, npt.NDArray[np.float32]] = {}
        self._one_in = 1
        # Image id -> score of the likeliest class.
        self._scores: dict[int, float] = {}

    def bind(self, dataset: Dataset) -> None:
        """Take the names of the classes, and forget all results."""
        self._class_names = tuple(dataset.class_names)
        self._paths = dataset
        self._one_in = -(-len(dataset) * len(self._class_names) // MOST_NUMBERS)
        self.reset()

    def score_names(self, dataset: Dataset) -> list[str]:
        """What :meth:`compute` can return: the headlines, then ``top1/<class name>`` of every class."""
        names = tuple(dataset.class_names)
        headlines = [name for name in self.headlines if name != "top5" or len(names) > 5]
        return [*headlines, *(f"top1/{name}" for name in names)]

    def reset(self) -> None:
        """Forget all results."""
        self._seen = {}
        self._probabilities = {}
        self._tables = {}
        self._scores = {}

    def update(self, results: Sequence[Classification], batch: Batch) -> None:
        """Take one batch's classes, likeliest first, in the order of ``batch.infos.image_ids``."""
        assert batch.labels is not None
        image_ids = batch.infos.image_ids.tolist()
        if len(results) != len(image_ids):
            raise ValueError(f"{len(results)} results for a batch of {len(image_ids)} images; give one for each.")
        if not image_ids:
            return
        # One transfer a batch: a device would otherwise be waited for three times an image. Labels are exact in
        # float32 up to 2^24 classes.
        table = torch.stack([torch.stack([found.scores.float(), found.labels.float()]) for found in results]).cpu()
        for image_id, truth, (scores, labels) in zip(image_ids, batch.labels[:, 0].tolist(), table, strict=True):
            if not scores.isfinite().all():
                path = self._paths.path_of(image_id) if self._paths else image_id
                raise ValueError(f"{path}: the model's scores are not finite; its weights are damaged or diverged.")
            rank = int((labels == truth).nonzero()[0, 0])
            self._probabilities.setdefault(image_id, float(scores[rank]))
            self._seen.setdefault(image_id, (truth, int(labels[0]), rank))
            self._scores.setdefault(image_id, float(scores[0]))
            if _mixed(image_id) % self._one_in == 0:
                self._tables.setdefault(image_id, scores.numpy().copy())

    def image_score(self, image_id: int) -> ImageScore:
        """The probability that the right class got."""
        return ImageScore(self._probabilities[image_id], 1)

    def compute(self) -> dict[str, float]:
        """Scores over the images of all processes; every process gets the same."""
        self._seen, self._scores = gathered_by_id(self._seen), gathered_by_id(self._scores)
        self._tables = gathered_by_id(self._tables)
        classes = len(self._class_names)
        if not self._seen:
            return {name: -1.0 for name in self.headlines if name != "top5" or classes > 5}
        truth, _, rank = torch.tensor(list(self._seen.values())).T
        scores = {"top1": float((rank == 0).double().mean())}
        if classes > 5:
            scores["top5"] = float((rank < 5).double().mean())
        per_class = {
            name: float((rank[truth == label] == 0).double().mean())
            for label, name in enumerate(self._class_names)
            if (truth == label).any()
        }
        scores["mean_class_accuracy"] = sum(per_class.values()) / len(per_class)
        return scores | {f"top1/{name}": value for name, value in per_class.items()}

    def by_image(self) -> WeightedAccuracy:
        """The scores of the same results for any weights of the images; after :meth:`compute`."""
        order = sorted(self._seen)
        table = np.array([self._seen[image_id] for image_id in order], np.int64).reshape(-1, 3)
        return WeightedAccuracy(table[:, 0], table[:, 2], image_ids=order, class_names=self._class_names)

    def confusion(self) -> torch.Tensor:
        """Images by truth (rows) and likeliest class (columns), int64 [K, K]."""
        classes = len(self._class_names)
        counts = torch.zeros(classes, classes, dtype=torch.int64)
        for truth, likeliest, _ in self._seen.values():
            counts[truth, likeliest] += 1
        return counts

    def probabilities(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Of images of all processes after :meth:`compute`, of so many that they are 4 million numbers at most.

        Returns:
            [N, K], the likeliest first; int64 [N], the place of the truth among them; int64 [N], the images' ids.
        """
        ids = sorted(self._tables)
        table = np.array([self._tables[each] for each in ids], np.float32).reshape(-1, len(self._class_names))
        return table, np.array([self._seen[each][2] for each in ids], np.int64), np.array(ids, np.int64)

    def calibration(self) -> Calibration | None:
        """Whether the likeliest class is right as often as its probability says; None of too few images."""
        return calibration_of_classes(*self.probabilities())

    def surest_mistakes(self, count: int) -> list[tuple[float, int, int, int]]:
        """Score, image id, truth and likeliest class of the wrong images, the surest first; after :meth:`compute`."""
        wrong = ((self._scores[key], key, truth, label) for key, (truth, label, rank) in self._seen.items() if rank)
        return heapq.nsmallest(count, wrong, key=lambda row: (-row[0], row[1]))

    def write(self, folder: Path) -> None:
        """classifications.json (image id, truth and likeliest class) and confusion.png."""
        rows = [
            {"image_id": image_id, "truth": self._class_names[truth], "predicted": self._class_names[likeliest]}
            for image_id, (truth, likeliest, _) in sorted(self._seen.items())
        ]
        (folder / "classifications.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
        plot_confusion(self.confusion().numpy(), self._class_names, folder / "confusion.png")


def _mixed(image_id: int) -> int:
    """A number that goes with the id and not with its order: ids of a class often follow one another, or a step."""
    return image_id * 2_654_435_761 % 2**32 >> 8
