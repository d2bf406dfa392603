from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnv2dense.data.check_sample import check_sample
from mnv2dense.data.module import DataModule
from mnv2dense.types import IGNORE_LABEL, Sample
from tests.data.test_module import Squares

BOXES = np.array([[0, 0, 20, 10], [-4, 2, 8, 6]], np.float32)  # an object may reach over the edge


def sample(**changes: Any) -> Sample:  # noqa: ANN401
    image = np.zeros((10, 20, 3), np.uint8)
    good = Sample(image, BOXES, np.array([1, IGNORE_LABEL]), None, 7, Path("7.jpg"))
    return good._replace(**changes)


def boxes(*rows: list[float]) -> dict[str, Any]:
    return {"boxes": np.array(rows, np.float32), "labels": np.zeros(len(rows), np.int64)}


class Rotate90:
    """An augmentation, by name."""


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64)},
        {"boxes": np.zeros(0, np.float32), "labels": np.zeros(0, np.int64)},
        {"boxes": np.zeros((0, 4), np.float32), "labels": np.array([])},  # of an empty list: floats
        {"boxes": None, "labels": np.array([1])},
        {"boxes": None, "labels": None, "mask": np.array([[0, 1] * 10, [255] * 20] * 5, np.uint8)},
        {"boxes": None, "labels": None},
    ],
)
def test_what_keeps_its_promises_passes(changes: dict[str, Any]) -> None:
    check_sample(sample(**changes), 2, of=Rotate90())


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"labels": np.array([1])}, r"boxes \[2, 4\] and labels \[1\]; they are \[N, 4\] and \[N\]"),
        ({"boxes": BOXES[:1]}, r"boxes \[1, 4\] and labels \[2\]"),
        ({"labels": None}, r"boxes \[2, 4\] and no labels"),
        ({"boxes": BOXES[:, :3]}, r"boxes \[2, 3\]"),
        (boxes([0, 0, 5, 5], [8, 2, 4, 6]), r"of 20 x 10 pixels the box \[8, 2, 4, 6\], which is none; .* x1, y1, x2"),
        (boxes([0, 0, np.nan, 5]), r"the box \[0, 0, nan, 5\], which is none"),
        (boxes([0, 0, np.inf, 5]), r"the box \[0, 0, inf, 5\], which is none"),
        (boxes([21, 0, 25, 5]), r"the box \[21, 0, 25, 5\], which lies outside of it; leave it and its label out"),
        (boxes([0, -9, 5, -1]), r"the box \[0, -9, 5, -1\], which lies outside of it"),
        ({"labels": np.array([0, 2])}, r"the label 2; of 2 classes they are 0\.\.1, or -2 for a region to ignore"),
        ({"labels": [0, 1]}, r"with labels as list; they are numpy arrays"),
        ({"labels": np.array([0, -1])}, r"the label -1; "),
        ({"labels": np.array([0.0, 1.0])}, r"labels of float64 \[2\]; they are int64 \[N\]"),
        ({"boxes": None, "labels": np.array([-2])}, r"the label -2; of 2 classes they are 0\.\.1\.$"),
        ({"boxes": None}, r"labels of int64 \[2\]; they are int64 \[1\]"),
        ({"image": np.zeros((10, 20, 3))}, r"as float64 \[10, 20, 3\]; images are uint8 \[height, width, 3\], RGB"),
        ({"mask": np.full((10, 20), 2, np.uint8)}, r"the class 2 in its mask; of 2 classes .*255 is ignored"),
        ({"mask": np.zeros((5, 10), np.uint8)}, r"of 10 x 20 a mask of uint8 \[5, 10\]"),
    ],
)
def test_what_does_not_is_named_with_its_giver_and_image(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=r"^Rotate90 gave image 7 \(7\.jpg\) .*" + fault):
        check_sample(sample(**changes), 2, of=Rotate90())


def loses_a_label(given: Sample, seed: int) -> Sample:
    assert given.labels is not None
    return given._replace(labels=given.labels[1:])


class OneMore(Squares):
    """A data set whose labels begin with 1."""

    def __getitem__(self, index: int) -> Sample:
        given = super().__getitem__(index)
        assert given.labels is not None
        return given._replace(labels=given.labels + 1)


def test_loading_tells_an_augmentations_fault_from_the_data_sets() -> None:
    options: dict[str, Any] = {"size": (16, 16), "batch_size": 3, "num_workers": 0}
    module = DataModule(train=Squares(3), val=OneMore(3), augment=loses_a_label, **options)
    with pytest.raises(ValueError, match=r"^loses_a_label gave image 10[12] .*boxes \[(1, 4\] and labels \[0|2, 4)"):
        next(iter(module.train_dataloader()))
    with pytest.raises(ValueError, match=r"^OneMore gave image 102 .*the label 2; of 2 classes"):
        next(iter(module.val_dataloader()))  # type: ignore[arg-type]
