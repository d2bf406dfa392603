"""Heads on frozen features, each judging the fold that it has not learnt from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mnv2dense.doctor.crops import CropFeatures, place_facts
from mnv2dense.doctor.frozen import FrozenFeatures, boxes_of, frozen_features
from mnv2dense.doctor.held_out import Schedule, out_of_fold_boxes, out_of_fold_pixels
from mnv2dense.models import mobilenet_v2
from mnv2dense.types import IGNORE_LABEL, Sample

ONCE = Schedule(epochs=1, batch_size=4)


class Squares:
    """Six grey images, a light square of class 1 in each, at a place of its own; the first has a region to ignore."""

    class_names: tuple[str, ...] = ("ground", "square")

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Sample:
        image, mask = np.full((80, 96, 3), 40, np.uint8), np.zeros((80, 96), np.uint8)
        left = 8 * index
        image[10:42, left : left + 32], mask[10:42, left : left + 32] = 220, 1
        boxes = [[left, 10, left + 32, 42]] + [[0, 60, 20, 80]] * (index == 0)
        labels = np.array([1] + [IGNORE_LABEL] * (index == 0))
        return Sample(image, np.array(boxes, np.float32), labels, mask, 100 + index, Path(f"{index}.png"))

    def path_of(self, image_id: int) -> Path:
        return Path(f"{image_id - 100}.png")


def seen(*features: str) -> tuple[FrozenFeatures, list[Sample]]:
    """What a small backbone of random weights sees of them."""
    torch.manual_seed(0)
    samples: list[Sample] = []
    backbone = mobilenet_v2(width_mult=0.35, features=features).eval()
    look = lambda place, sample: samples.append(sample)  # noqa: E731
    return frozen_features(backbone, Squares(), size=(64, 64), batch_size=4, look=look), samples


def test_features_are_those_of_each_image_alone() -> None:
    frozen, samples = seen("stride8", "last_bottleneck")
    torch.manual_seed(0)
    backbone = mobilenet_v2(width_mult=0.35, features=("stride8", "last_bottleneck")).eval()

    class Last(Squares):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Sample:
            return super().__getitem__(5)

    alone = frozen_features(backbone, Last(), size=(64, 64))
    assert [sample.image_id for sample in samples] == [100, 101, 102, 103, 104, 105]
    assert frozen.infos.image_ids.tolist() == [0, 1, 2, 3, 4, 5]
    assert frozen.maps["stride8"].shape[-2:] == (8, 8)
    for name, kept in alone.maps.items():
        assert torch.allclose(frozen.maps[name][5], kept[0], atol=1e-2)


def test_the_truth_of_samples_becomes_columns() -> None:
    truth = boxes_of([Squares()[0], Squares()[1]._replace(boxes=np.zeros((0, 4), np.float32), labels=np.zeros(0, int))])
    assert truth.images.tolist() == [0, 0]
    assert truth.corners.tolist() == [[0, 10, 32, 42], [0, 60, 20, 80]]
    assert truth.crowds.tolist() == [False, True]
    assert truth.starts.tolist() == [0, 2, 2]


def test_boxes_are_found_in_pixels_of_their_images_and_the_same_again() -> None:
    frozen, samples = seen("stride8", "stride16", "last_bottleneck")
    truth, fold_of = boxes_of(samples), np.array([0, 1, 0, 1, 0, 1])
    steps: list[int] = []
    found = out_of_fold_boxes(frozen, truth, fold_of, schedule=ONCE, channels=16, advance=steps.append)
    again = out_of_fold_boxes(frozen, truth, fold_of, schedule=ONCE, channels=16)
    assert steps == [3, 3], "an incomplete batch is one, where there is no other"
    assert (np.diff(found.images) >= 0).all()
    assert len(found.scores) > 0
    assert found.boxes.min() >= 0
    assert (found.boxes.max(axis=0) <= [96, 80, 96, 80]).all()
    assert all(np.array_equal(one, other) for one, other in zip(found, again, strict=True))


def test_an_image_is_judged_without_its_own_labels() -> None:
    frozen, samples = seen("stride8", "last_bottleneck")
    masks = torch.from_numpy(np.stack([sample.mask[5::10, 6::12] for sample in samples if sample.mask is not None]))
    fold_of, changed = np.array([0, 0, 0, 1, 1, 1]), masks.clone()
    changed[0] = 1
    few = Schedule(epochs=4, batch_size=3, lr=0.1)
    before, after = (
        out_of_fold_pixels(frozen, given, fold_of, classes=2, schedule=few, channels=16) for given in (masks, changed)
    )
    assert before.shape == (6, 2, 8, 8)
    assert torch.allclose(before.float().sum(dim=1), torch.ones(6, 8, 8), atol=1e-2)
    assert torch.equal(before[:3], after[:3])
    assert not torch.equal(before[3:], after[3:])


def test_the_callers_random_numbers_stay_as_they_are() -> None:
    frozen, _ = seen("stride8", "last_bottleneck")
    torch.manual_seed(7)
    wanted = torch.rand(1)
    torch.manual_seed(7)
    masks = torch.zeros(6, 8, 8, dtype=torch.uint8)
    out_of_fold_pixels(frozen, masks, np.arange(6) % 2, classes=2, schedule=ONCE, channels=16)
    assert torch.equal(torch.rand(1), wanted)


def test_a_crop_is_of_its_box_whatever_surrounds_the_image() -> None:
    look = CropFeatures(mobilenet_v2(width_mult=0.35, features=("stride16",)).eval(), size_px=64, batch_size=2)
    image = np.full((100, 200, 3), 127, np.uint8)
    image[20:60, 40:80] = np.random.default_rng(0).integers(0, 255, (40, 40, 3))
    wider = np.full((300, 400, 3), 127, np.uint8)
    wider[100:200, 100:300] = image
    boxes = np.array([[40, 20, 80, 60], [0, 0, 30, 30], [150, 50, 200, 100]], np.float32)
    here, there = look(image, boxes), look(wider, boxes + 100)
    assert here.shape == (3, look.length)
    assert here[:, :-5] == pytest.approx(there[:, :-5], abs=1e-4)
    assert look(image, np.zeros((0, 4), np.float32)).shape == (0, look.length)


def test_place_and_size_are_in_shares_of_the_image() -> None:
    (facts,) = place_facts((100, 200), np.array([[50, 25, 150, 75]], np.float32))
    assert facts.tolist() == pytest.approx([np.log(0.5), np.log(0.5), np.log(2), 0.5, 0.5])
