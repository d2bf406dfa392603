from __future__ import annotations

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from mnv2dense.data import padding as module
from mnv2dense.data.collate import collate, prepare
from mnv2dense.types import IGNORE_LABEL, PADDING_LABEL, Sample


def sample(boxes: list[list[float]], labels: list[int], *, image_id: int = 1) -> Sample:
    return Sample(
        np.full((10, 20, 3), 50, np.uint8),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
        None,
        image_id,
        Path(f"{image_id}.jpg"),
    )


def test_boxes_move_with_the_image_into_the_models_input() -> None:
    item = prepare(sample([[0, 0, 20, 10], [4, 2, 8, 6]], [3, 0]), (40, 40), "letterbox")
    assert item.image.shape == (3, 40, 40)
    assert item.boxes.tolist() == [[0, 10, 40, 30], [8, 14, 16, 22]]
    assert item.size == (10, 20)


def test_a_batch_is_padded_to_a_fixed_number_of_boxes() -> None:
    samples = [sample([[1, 2, 3, 4]], [IGNORE_LABEL], image_id=8), sample([], [], image_id=9)]
    batch = collate([prepare(one, (10, 20), "squash") for one in samples], max_boxes=2)
    assert batch.images.shape == (2, 3, 10, 20)
    assert batch.images.dtype == torch.uint8
    assert batch.boxes is not None
    assert batch.labels is not None
    assert batch.boxes.tolist() == [[[1, 2, 3, 4], [0] * 4], [[0] * 4] * 2]
    assert batch.labels.tolist() == [[IGNORE_LABEL, PADDING_LABEL], [PADDING_LABEL] * 2]
    assert (batch.boxes.dtype, batch.labels.dtype) == (torch.float32, torch.int64)
    assert batch.masks is None
    assert batch.infos.image_ids.tolist() == [8, 9]
    assert batch.infos.sizes.tolist() == [[10, 20], [10, 20]]


def test_masks_travel_with_their_images() -> None:
    mask = np.arange(200, dtype=np.uint8).reshape(10, 20)
    item = prepare(sample([], [])._replace(mask=mask), (10, 20), "squash")
    batch = collate([item], max_boxes=1)
    assert batch.masks is not None
    assert batch.masks[0].tolist() == mask.tolist()
    assert batch.truths is None


def test_masks_that_will_be_scored_stay_as_they_are_beside_the_resized_ones() -> None:
    mask = np.arange(200, dtype=np.uint8).reshape(10, 20)
    item = prepare(sample([], [])._replace(mask=mask[:, ::-1]), (5, 5), "squash", scored=True)
    batch = pickle.loads(pickle.dumps(collate([item], max_boxes=1)))  # as it comes from a worker
    assert batch.masks.shape == (1, 5, 5)
    assert batch.truths[0].unpack().tolist() == mask[:, ::-1].tolist()


def test_of_too_many_boxes_the_largest_objects_are_kept_and_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_crowded_image_reported", False)
    boxes = [[0, 0, 2, 2], [0, 0, 9, 9], [0, 0, 20, 10], [0, 0, 4, 4]]
    item = prepare(sample(boxes, [0, 1, IGNORE_LABEL, 3], image_id=77), (10, 20), "squash")
    with caplog.at_level(logging.WARNING):
        labels = [collate([item], max_boxes=count).labels for count in (2, 3, 4)]
    assert [one.tolist() for one in labels if one is not None] == [[[1, 3]], [[0, 1, 3]], [[0, 1, -2, 3]]]
    (record,) = caplog.records
    assert "77.jpg has 4 boxes, more than max_boxes=2" in record.getMessage()


def test_read_only_and_flipped_memory_is_taken() -> None:
    one = sample([[1, 2, 3, 4]], [0])
    one.image.flags.writeable = False
    assert prepare(one, (10, 20), "squash").image.unique().tolist() == [50]
    flipped = one._replace(image=one.image[:, ::-1])
    assert prepare(flipped, (10, 20), "squash").image.unique().tolist() == [50]
