from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from mnv2dense.data.module import DataModule
from mnv2dense.data.rare_classes import repeat_factors, repeats_of
from mnv2dense.data.shapes import Shapes
from mnv2dense.types import Sample


def test_factors_are_those_of_the_paper() -> None:
    labels = [[0, 0, 0], [0, 1], [0], [], [0, 2], [0], [0], [0], [0], [0]]
    expected = np.ones(10)
    expected[1] = expected[4] = math.sqrt(0.4 / 0.1)  # of 10 images one shows class 1, and one class 2
    np.testing.assert_allclose(repeat_factors(labels, threshold=0.4), expected)
    assert (repeat_factors(labels, threshold=0.0) == 1).all()
    assert (repeat_factors([[], []], threshold=0.5) == 1).all()


@pytest.mark.parametrize("threshold", [-0.1, 1.5, "abc", True])
def test_thresholds_are_shares(threshold: float) -> None:
    with pytest.raises(ValueError, match=rf"repeat_threshold={threshold}: a share of the images between 0 and 1"):
        DataModule(train=Boxes(), val=None, repeat_threshold=threshold)


class Boxes:
    """Class 1 in one image of eight."""

    class_names = ("common", "rare")

    def __len__(self) -> int:
        return 8

    def labels_of(self, index: int) -> list[int]:
        return [0, 1] if index == 3 else [0]

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        return Sample(
            image=rng.integers(0, 256, (8, 8, 3), dtype=np.uint8),
            boxes=np.array([[1, 1, 5, 5]], np.float32),
            labels=np.zeros(1, np.int64),
            mask=None,
            image_id=index,
            path=Path(f"{index}.jpg"),
        )

    def path_of(self, image_id: int) -> Path:
        return Path(f"{image_id}.jpg")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_module_draws_rare_classes_more_often_and_batches_of_several_sizes(workers: int) -> None:
    sizes = ((8, 8), (16, 8))
    data = DataModule(
        train=Boxes(), val=None, size=(8, 8), batch_size=2, num_workers=workers, repeat_threshold=0.5, train_sizes=sizes
    )
    assert data.epoch_length == 9
    assert data.train_size == (8, 8)
    loader = data.train_dataloader()
    assert len(loader) == 4
    seen = []
    for epoch in range(4):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for batch in loader:
            assert batch.images.shape[-2:] in sizes
            # Boxes follow their image to the size that it has here.
            assert batch.boxes is not None
            assert (batch.boxes[:, 0, 3] == 5 * batch.images.shape[-2] / 8).all()
            seen += [(tuple(batch.images.shape[-2:]), int(image_id)) for image_id in batch.infos.image_ids]
    assert {size for size, _ in seen} == set(sizes)
    assert sum(image_id == 3 for _, image_id in seen) > 4


def test_data_that_tells_no_classes_is_named() -> None:
    class Blind(Boxes):
        labels_of = None  # type: ignore[assignment]

    with pytest.raises(ValueError, match=r"repeat_threshold=0\.1: Blind does not tell which classes an image shows"):
        repeats_of(Blind(), 0.1)


def test_data_sets_of_boxes_tell(cache: Path) -> None:
    shapes = Shapes(root=cache / "shapes", train_images=8, val_images=4)
    assert np.bincount(np.concatenate([shapes.labels_of(i) for i in range(8)]), minlength=3).tolist() == list(
        shapes.box_counts
    )


@pytest.mark.parametrize("size", [320, [320], [0, 8], [8.5, 8], "ab"])
def test_sizes_are_pairs_of_pixels(size: object) -> None:
    with pytest.raises(ValueError, match=r"train_sizes: .* is no size; each is \[height, width\]"):
        DataModule(train=Boxes(), val=None, train_sizes=[size])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"train_sizes=320: give a list of sizes, as in \[\[256,256\]"):
        DataModule(train=Boxes(), val=None, train_sizes=320)  # type: ignore[arg-type]
