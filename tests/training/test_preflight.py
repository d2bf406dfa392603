from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mnv2dense.data.module import DataModule
from mnv2dense.metrics import Accuracy, CocoMeanAP, MeanIoU
from mnv2dense.protocols import Dataset, Metric
from mnv2dense.training.preflight import check_batches, check_length, check_monitor, check_precision, check_seed
from mnv2dense.types import Sample


class Two:
    """Two classes, with all truths at once; only its names and counts are asked for."""

    class_names = ("cat", "dog")
    palette = None
    category_ids = (1, 2)
    box_counts = (1, 0)
    ignored_count = 0

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        raise AssertionError("no image is needed")

    def path_of(self, image_id: int) -> Path:
        return Path(f"{image_id}.jpg")

    def mask_of(self, image_id: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
        raise AssertionError("no mask is needed")

    def coco_ground_truth(self) -> dict[str, list[dict[str, object]]]:
        box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "area": 25, "iscrowd": 0}
        categories: list[dict[str, object]] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
        return {"images": [{"id": 1}], "categories": categories, "annotations": [box]}


class Own:
    """A metric from outside, of the protocol's least."""

    headlines = {"F1": "of pixels"}  # noqa: RUF012

    def bind(self, dataset: Dataset) -> None: ...

    def reset(self) -> None: ...

    def update(self, results: Sequence[object], batch: object) -> None: ...

    def compute(self) -> dict[str, float]:
        return {"F1": -1.0}

    def write(self, folder: Path) -> None: ...


DATA = DataModule(train=None, val=Two())


@pytest.mark.parametrize(
    ("metric", "monitor"),
    [
        (MeanIoU(), "IoU/dog"),
        (MeanIoU(), "mIoU"),
        (Accuracy(), "top1/cat"),
        (CocoMeanAP(), "AP/cat"),
        (CocoMeanAP(), "loss"),
        (Own(), "F1"),
    ],
)
def test_what_training_will_log_can_be_monitored(metric: Metric, monitor: str) -> None:
    check_monitor(monitor, metric, DATA)


@pytest.mark.parametrize(
    ("metric", "monitor", "message"),
    [
        (MeanIoU(), "IoU/cow", "or one class: IoU/cat"),
        (MeanIoU(boundary=False), "boundary_IoU", "there is no such score"),
        (Accuracy(), "top1/dogs", r"did you mean monitor=top1/dog\?"),
        (CocoMeanAP(), "AP/dog", "there is no such score"),  # no object of it: no such score will be logged
        (Own(), "mIoU", r"Choose from loss, F1\.$"),
    ],
)
def test_what_it_will_not_log_is_refused(metric: Metric, monitor: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"monitor={monitor}: .*{message}"):
        check_monitor(monitor, metric, DATA)


def test_a_curve_that_no_score_has_is_refused() -> None:
    with pytest.raises(ValueError, match=r"curves=mIOU: there is no such score; did you mean curves=mIoU\?"):
        check_monitor("mIoU", MeanIoU(), DATA, curves=["mIoU", "mIOU"])


def test_a_score_called_loss_is_refused() -> None:
    class Confusing(Own):
        def compute(self) -> dict[str, float]:
            return {"loss": 0.0}

    with pytest.raises(ValueError, match='Confusing calls a score "loss", as what is minimised is called'):
        check_monitor("loss", Confusing(), DATA)


@pytest.mark.parametrize("precision", [None, 32, "32-true", "bf16-mixed", "16-mixed"])
def test_precisions_that_keep_float32_where_it_counts_are_fine(precision: str | int | None) -> None:
    check_precision(precision)


@pytest.mark.parametrize(("precision", "instead"), [("bf16-true", "bf16-mixed"), ("16-true", "16-mixed")])
def test_a_precision_that_rounds_anchors_and_boxes_is_refused_with_the_one_to_take(
    precision: str, instead: str
) -> None:
    with pytest.raises(ValueError, match=rf"trainer.precision={precision} would round .*trainer.precision={instead}"):
        check_precision(precision)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"limit_train_batches": 0}, r"trainer\.limit_train_batches=0: nothing would be learnt from"),
        ({"limit_train_batches": 0.5}, r"limit_train_batches=0\.5: of 1 batches that is less than one"),
        (
            {"limit_val_batches": 0.5},
            r"limit_val_batches=0\.5: of 1 batches that is less than one; give",
        ),
    ],
)
def test_a_share_of_batches_that_leaves_none_is_told(limits: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_batches(limits, DataModule(train=Two(), val=Two(), batch_size=1))


def test_shares_and_numbers_that_leave_batches_pass() -> None:
    data = DataModule(train=Two(), val=Two(), batch_size=4)
    for limits in ({}, {"limit_train_batches": 1.0}, {"limit_train_batches": 1, "limit_val_batches": 0}):
        check_batches(limits, data)


@pytest.mark.parametrize("options", [{"max_epochs": 1.5}, {"max_epochs": True}, {"max_epochs": -1, "max_steps": 9.5}])
def test_a_length_in_parts_is_refused_before_lightning_asserts_that_it_is_whole(options: dict[str, object]) -> None:
    with pytest.raises(
        ValueError, match=r"trainer\.max_(epochs|steps)=.*: a whole number is needed, as in trainer.max_"
    ):
        check_length(options)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, True, "0"])
def test_a_seed_that_no_generator_takes_is_refused(seed: object) -> None:
    with pytest.raises(ValueError, match=rf"seed={seed}: give a whole number from 0 to 4294967295"):
        check_seed(seed)
    check_seed(0)
    check_seed(2**32 - 1)
