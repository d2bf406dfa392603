"""COCO mAP of a whole validation: each backend of the metric, from batches of detections to scores, in one run.

    python benchmarks/coco_evaluation.py --images 5000 --boxes 100 --threads 1

Truth of COCO val's density is drawn at random, and what a detector might say of it. Every backend scores the same
batches through ``CocoMeanAP``: ``update`` for each batch, then ``compute``. Reported are the process's CPU time and the
wall time of both together, the ratios to pycocotools, and by how much any score differs from its. pycocotools takes
minutes; ``--backends hotcoco faster_coco_eval`` leaves it out. ``--parts`` adds what a report asks for besides.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")

_CLASSES = 80
_OBJECTS = 7.3  # of an image, as COCO val2017 has
_BATCH = 16
_BACKENDS = ("hotcoco", "faster_coco_eval", "pycocotools")


class Seconds(NamedTuple):
    """How long something took."""

    cpu: float
    wall: float


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--boxes", type=int, default=100, help="found in each image")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3, help="of all but pycocotools, whose time is taken once")
    parser.add_argument("--backends", nargs="+", default=_BACKENDS, choices=_BACKENDS)
    parser.add_argument("--parts", action="store_true", help="also the best threshold, scores of images and the files")
    arguments = parser.parse_args()
    # Read when the libraries are loaded, which is below.
    os.environ["RAYON_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(arguments.threads)

    import torch

    from mnv2dense.metrics import CocoMeanAP
    from mnv2dense.types import Batch, Detections, Infos

    torch.set_num_threads(arguments.threads)
    truth = _Truth(arguments.images)
    tables = _found(truth, arguments.boxes)
    results = []
    for table in map(torch.from_numpy, tables):
        results.append(Detections(table[:, :4], table[:, 4], table[:, 5].long(), truth.class_names))
    batches = []
    for start in range(0, len(results), _BATCH):
        ids = torch.arange(start, min(start + _BATCH, len(results)))
        count = len(ids)
        infos = Infos(ids, torch.ones(count, 2).long(), torch.ones(count, 2), torch.zeros(count, 2))
        batches.append((results[start : start + count], Batch(torch.zeros(count, 3, 1, 1), None, None, None, infos)))

    times: dict[str, Seconds] = {}
    scores: dict[str, dict[str, float]] = {}
    metrics = {name: CocoMeanAP(backend=name) for name in arguments.backends}
    print(f"{arguments.images} images with {arguments.boxes} boxes each, {len(truth.labels)} objects, "
          f"{_CLASSES} classes, {arguments.threads} threads")  # fmt: skip
    for name, metric in metrics.items():
        taken = []
        for _ in range(1 if name == "pycocotools" else arguments.repeats):
            metric.bind(truth)

            def whole(metric: CocoMeanAP = metric) -> dict[str, float]:
                for found, batch in batches:
                    metric.update(found, batch)
                return metric.compute()

            scores[name], seconds = _timed(whole)
            taken.append(seconds)
        times[name] = Seconds(*(statistics.median(column) for column in zip(*taken, strict=True)))
        print(f"  {name:<18} CPU {times[name].cpu:8.2f} s   wall {times[name].wall:8.2f} s", flush=True)
    _beside(times, scores)
    if arguments.parts:
        _parts(next(iter(metrics.values())), truth)


def _beside(times: dict[str, Seconds], scores: dict[str, dict[str, float]]) -> None:
    """Each beside pycocotools, or beside the last where that is left out."""
    reference = "pycocotools" if "pycocotools" in times else list(times)[-1]
    for name in times:
        if name == reference:
            continue
        off = max(abs(scores[name][score] - value) for score, value in scores[reference].items())
        cpu, wall = (a / b for a, b in zip(times[name], times[reference], strict=True))
        print(f"  {name} takes 1/{1 / cpu:.1f} of {reference}'s CPU time, 1/{1 / wall:.1f} of its wall time; "
              f"{len(scores[name])} scores, at most {off:.1e} off")  # fmt: skip


def _parts(metric: object, truth: _Truth) -> None:
    """What a report asks for besides the scores."""
    from mnv2dense.metrics import CocoMeanAP

    assert isinstance(metric, CocoMeanAP)
    steps: dict[str, Callable[[], object]] = {
        "bind": lambda: CocoMeanAP().bind(truth),
        "best threshold": lambda: metric.threshold_curves().best(),
        "scores of images": lambda: [metric.image_score(image_id) for image_id in range(len(truth))],
    }
    for name, step in steps.items():
        print(f"  {name:<18} CPU {_timed(step)[1].cpu:8.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        seconds = _timed(lambda: metric.write(Path(folder)))[1]
        print(f"  {'files':<18} CPU {seconds.cpu:8.2f} s")


class _Truth:
    """Objects of P images at random places, as a data set gives them to the metric; a hundredth are crowds."""

    def __init__(self, images: int) -> None:
        random = np.random.default_rng(0)
        count = round(_OBJECTS * images)
        sizes = np.exp(random.uniform(2, 5.5, (count, 2)))
        self.images = np.sort(random.integers(0, images, count))
        self.boxes = np.concatenate([random.uniform(0, 400, (count, 2)), sizes], axis=1)
        self.labels = random.integers(0, _CLASSES, count)
        self.crowds = random.random(count) < 0.01
        self.class_names = tuple(f"class {label}" for label in range(_CLASSES))
        self.category_ids = list(range(_CLASSES))
        self.box_counts = np.bincount(self.labels[~self.crowds], minlength=_CLASSES).tolist()
        self.ignored_count = int(self.crowds.sum())
        self._images = images

    def __len__(self) -> int:
        return self._images

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401 - nobody asks for an image
        raise AssertionError("scoring asks for no image")

    def path_of(self, image_id: int) -> Path:
        return Path(f"{image_id}.jpg")

    def coco_ground_truth(self) -> dict[str, Any]:
        raise AssertionError("box_columns() goes before it")

    def box_columns(self) -> Any:  # noqa: ANN401 - the package is imported once the threads are set
        from mnv2dense.types import BoxColumns

        areas = self.boxes[:, 2:].prod(axis=1)
        return BoxColumns(np.arange(self._images), self.images, self.boxes, self.labels, self.crowds, areas)


def _found(truth: _Truth, boxes: int) -> list[npt.NDArray[np.float32]]:
    """Of each image [boxes, 6], the surest first: its objects, shaken, half of them by another name."""
    random = np.random.default_rng(1)
    starts = np.searchsorted(truth.images, np.arange(len(truth) + 1))
    tables = []
    for start, end in pairwise(starts.tolist()):
        rows = random.integers(start, end, boxes) if end > start else random.integers(0, len(truth.labels), boxes)
        xywh = truth.boxes[rows] + random.normal(0, 0.1, (boxes, 4)) * truth.boxes[rows][:, [2, 3, 2, 3]]
        corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:].clip(1)], axis=1)
        labels = np.where(random.random(boxes) < 0.5, random.integers(0, _CLASSES, boxes), truth.labels[rows])
        scores = -np.sort(-random.random(boxes))
        tables.append(np.column_stack([corners, scores, labels]).astype(np.float32))
    return tables


def _timed(work: Callable[[], T]) -> tuple[T, Seconds]:
    cpu, wall = time.process_time(), time.perf_counter()
    done = work()
    return done, Seconds(time.process_time() - cpu, time.perf_counter() - wall)


if __name__ == "__main__":
    main()
