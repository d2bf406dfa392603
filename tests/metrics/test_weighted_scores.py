"""Masks and classes with weights of images: ones give the metric's own scores, others those of repeated images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mnv2dense.metrics import Accuracy, JointMetric, MeanIoU
from mnv2dense.metrics.weighted_scores import WeighsImages
from mnv2dense.types import Batch, Classification, Infos, Sample, Segmentation

CLASSES = tuple("abcdefg")
IMAGES = 9


class Masks:
    """As many images as are asked for, of few classes each; the same image has the same mask wherever it stands."""

    palette = None
    class_names = CLASSES

    def __init__(self, copies: list[int]) -> None:
        self.copies = copies

    def __len__(self) -> int:
        return len(self.copies)

    def mask_of(self, image_id: int) -> np.ndarray:
        return _mask(self.copies[image_id])

    def path_of(self, image_id: int) -> Path:
        return Path(f"{image_id}.png")

    def __getitem__(self, index: int) -> Sample:
        raise NotImplementedError


def _mask(seed: int, *, wrong: bool = False) -> np.ndarray:
    random = np.random.default_rng(seed)
    mask = random.choice(random.integers(0, len(CLASSES) - 1, 3), (12, 12)).astype(np.uint8)
    if not wrong:
        mask[0, :4] = 255
        return mask
    noise = random.random((12, 12)) < 0.3
    return np.where(noise, random.integers(0, len(CLASSES), (12, 12)), mask).astype(np.uint8)


def _batch(ids: list[int], labels: list[int] | None = None) -> Batch:
    count = len(ids)
    infos = Infos(torch.tensor(ids), torch.full((count, 2), 12), torch.ones(count, 2), torch.zeros(count, 2))
    truth = None if labels is None else torch.tensor(labels)[:, None]
    return Batch(torch.zeros(count, 3, 12, 12, dtype=torch.uint8), None, truth, None, infos)


def masks_of(copies: list[int]) -> MeanIoU:
    metric = MeanIoU()
    metric.bind(Masks(copies))
    results = [Segmentation(torch.from_numpy(_mask(copy, wrong=True)), CLASSES, None) for copy in copies]
    metric.update(results, _batch(list(range(len(copies)))))
    return metric


def classes_of(copies: list[int]) -> Accuracy:
    metric = Accuracy()
    metric.bind(Masks(copies))
    results, labels = [], []
    for copy in copies:
        scores = torch.from_numpy(np.random.default_rng(copy).random(len(CLASSES)))
        order = scores.argsort(descending=True)
        results.append(Classification(scores[order], order, CLASSES))
        labels.append(copy % 4)
    metric.update(results, _batch(list(range(len(copies))), labels))
    return metric


@pytest.mark.parametrize("made", [masks_of, classes_of])
def test_weights_stand_for_images_that_are_there_as_often(made: Callable[[list[int]], Accuracy | MeanIoU]) -> None:
    whole = made(list(range(IMAGES)))
    own = whole.compute()
    assert isinstance(whole, WeighsImages)
    by_image = whole.by_image()
    assert by_image.image_ids == tuple(range(IMAGES))
    weights = np.concatenate([np.ones((1, IMAGES), np.int64), np.random.default_rng(1).integers(0, 3, (20, IMAGES))])
    scores = by_image.scores(weights)
    assert {name: values[0] for name, values in scores.items()} == pytest.approx(own)
    for k, row in enumerate(weights):
        theirs = made(np.repeat(np.arange(IMAGES), row).tolist()).compute()
        ours = {name: values[k] for name, values in scores.items() if not np.isnan(values[k])}
        assert ours == pytest.approx(theirs), row


class Joined(Masks):
    """Masks of all images, and of every other one a second time, under other ids."""

    def __init__(self, copies: list[int]) -> None:
        super().__init__(copies)
        self.parts = {"all": Masks(copies), "some": Masks(copies[::2])}

    def id_in(self, name: str, image_id: int) -> int | None:
        if name == "all":
            return image_id
        return image_id // 2 if image_id % 2 == 0 else None


def test_of_several_heads_each_is_scored_on_the_images_that_it_has() -> None:
    copies = list(range(IMAGES))
    metric = JointMetric(parts={"all": MeanIoU(), "some": MeanIoU(boundary=False)})
    metric.bind(Joined(copies))
    result = [Segmentation(torch.from_numpy(_mask(copy, wrong=True)), CLASSES, None) for copy in copies]
    metric.update([{"all": each, "some": each} for each in result], _batch(copies))  # type: ignore[misc]
    own = metric.compute()
    by_image = metric.by_image()
    assert by_image.image_ids == tuple(copies)
    some = np.zeros((2, IMAGES), np.int64)
    some[0], some[1, 1::2] = 1, 1  # all, and those alone that the second head does not have
    scores = by_image.scores(some)
    assert {name: values[0] for name, values in scores.items()} == pytest.approx(own)
    assert np.isnan(scores["some/mIoU"][1])
    assert scores["mean"][1] == scores["all/mIoU"][1]
    assert by_image.images_of_classes()["all/IoU/a"] == metric.parts["all"].by_image().images_of_classes()["IoU/a"]  # type: ignore[attr-defined]


def test_it_is_known_how_many_images_show_a_class() -> None:
    accuracy = classes_of(list(range(IMAGES)))
    accuracy.compute()
    assert accuracy.by_image().images_of_classes() == {
        "top1/a": 3, "top1/b": 2, "top1/c": 2, "top1/d": 2, "top1/e": 0, "top1/f": 0, "top1/g": 0,
    }  # fmt: skip
    shown = masks_of([0]).by_image().images_of_classes()
    values = {f"IoU/{CLASSES[label]}" for label in np.unique(_mask(0)) if label != 255}
    assert {name for name, count in shown.items() if count} == values
