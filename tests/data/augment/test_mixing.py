from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mnv2dense.data.augment import DetectionAugment
from mnv2dense.data.augment.mixing import Mixing
from mnv2dense.data.check_sample import check_sample
from mnv2dense.data.module import DataModule
from mnv2dense.types import IGNORE_LABEL, Sample


def sample(
    number: int, height: int = 60, width: int = 80, *, box: tuple[int, int, int, int] = (30, 20, 50, 40)
) -> Sample:
    """A dark image of that number, with one object whose pixels are its label, and a region to ignore."""
    image = np.full((height, width, 3), 10 + number, np.uint8)
    boxes = np.array([box, (0, 0, 8, 8)], np.float32)
    left, top, right, bottom = box
    image[top:bottom, left:right] = 100 + number
    return Sample(image, boxes, np.array([number, IGNORE_LABEL]), None, number, Path(f"{number}.jpg"))


def mixed(mixing: Mixing, seed: int, *, parts: int = 8) -> Sample:
    made = [sample(number, 60 + 5 * number, 80 - 3 * number) for number in range(parts)]
    before = [each.image.copy() for each in made]
    result = mixing.mix(made[0], [made[partner] for partner in mixing.partners(seed, parts)], seed)
    assert all(np.array_equal(each.image, image) for each, image in zip(made, before, strict=True))
    check_sample(result, 100, of=mixing)
    assert result.image.shape == made[0].image.shape
    return result


def looks_like_its_label(result: Sample, *, tolerance: float = 0) -> None:
    """The middle of every object shows it."""
    assert result.boxes is not None
    assert result.labels is not None
    for box, label in zip(result.boxes, result.labels, strict=True):
        if label != IGNORE_LABEL:
            x, y = ((box[:2] + box[2:]) / 2).astype(int)
            assert abs(int(result.image[y, x, 0]) - (100 + int(label))) <= tolerance


def test_switched_off_a_sample_stays_alone() -> None:
    assert all(Mixing().partners(seed, 9) == [] for seed in range(50))
    augment = DetectionAugment()
    assert augment.partners(3, 9) == []


def test_a_mosaic_shows_four_images_and_where_their_objects_lie() -> None:
    mixing = Mixing(mosaic=1.0)
    shown, told, boxless = set(), 0, 0
    for seed in range(40):
        result = mixed(mixing, seed)
        looks_like_its_label(result)
        assert result.labels is not None
        assert len(result.labels) <= 8
        colours = np.unique(result.image[..., 0])
        shown |= set(colours[colours < 100].tolist())
        # An object without its centre in sight is there without a box; few are.
        inside = np.zeros(result.image.shape[:2], bool)
        assert result.boxes is not None
        for left, top, right, bottom in result.boxes[result.labels != IGNORE_LABEL]:
            inside[int(np.floor(top)) : int(np.ceil(bottom)), int(np.floor(left)) : int(np.ceil(right))] = True
        bright = result.image[..., 0] > 100
        told, boxless = told + (bright & inside).sum(), boxless + (bright & ~inside).sum()
    assert boxless < 0.3 * told
    assert shown >= {10 + number for number in range(8)}


def test_pasted_objects_lie_where_their_boxes_say_and_hide_what_is_under_them() -> None:
    mixing = Mixing(copy_paste=1.0)
    small, others = sample(0, box=(38, 28, 42, 32)), [sample(number) for number in range(1, 8)]
    hidden = 0
    for seed in range(200):
        result = mixing.mix(small, [others[partner] for partner in mixing.partners(seed, 7)], seed)
        check_sample(result, 100, of=mixing)
        assert result.boxes is not None
        assert result.labels is not None
        assert IGNORE_LABEL in result.labels
        assert (result.labels > 0).any()
        seen = (result.image[28:32, 38:42, 0] == 100).mean()
        assert (0 in result.labels) == (seen >= 0.3)
        hidden += 0 not in result.labels
        for box in result.boxes[result.labels > 0]:
            left, top, right, bottom = box.astype(int)
            assert (right - left, bottom - top) == (20, 20)
            assert (result.image[top:bottom, left:right] > 100).mean() > 0.2
    assert 5 < hidden < 100


def test_a_blend_has_the_boxes_of_both() -> None:
    mixing = Mixing(mixup=1.0)
    shares = []
    for seed in range(30):
        partner = mixing.partners(seed, 8)[0]
        result = mixed(mixing, seed)
        assert result.labels is not None
        assert set(result.labels.tolist()) <= {0, partner, IGNORE_LABEL}
        assert 0 in result.labels
        shares.append((110 - int(result.image[30, 40, 0])) / 100)
    assert len(set(shares)) > 10


def test_a_seed_decides_and_other_seeds_decide_otherwise() -> None:
    mixing = Mixing(mosaic=0.5, copy_paste=0.5, mixup=0.5)
    first, again = ([mixed(mixing, seed).image.tobytes() for seed in range(20)] for _ in range(2))
    assert first == again
    assert len(set(first)) > 14
    assert {len(mixing.partners(seed, 8)) for seed in range(200)} == {0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 3)])
def test_images_of_a_pixel_are_mixed_too(size: tuple[int, int]) -> None:
    mixing = Mixing(mosaic=1.0, copy_paste=1.0, mixup=1.0)
    for seed in range(10):
        tiny = Sample(
            np.zeros((*size, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, np.int64), None, 1, Path("1")
        )
        result = mixing.mix(tiny, [sample(k) for k in range(5)], seed)
        check_sample(result, 100, of=mixing)


def test_boxes_of_less_than_a_hair_are_left_out() -> None:
    mixing = Mixing(mosaic=1.0, copy_paste=1.0, mixup=1.0)
    for seed in range(40):
        thin = [sample(k)._replace(boxes=np.array([[30, 20, 30.0001, 40], [3, 3, 9, 9]], np.float32)) for k in range(6)]
        result = mixing.mix(thin[5], thin[:5], seed)
        check_sample(result, 100, of=mixing)
        DetectionAugment(crop_probability=0)(result, seed)


@pytest.mark.parametrize("name", ["mosaic", "copy_paste", "mixup"])
def test_probabilities_are_shares(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}_probability is 1\.5, but must lie in 0\.\.1"):
        DetectionAugment(**{f"{name}_probability": 1.5})  # type: ignore[arg-type]


def test_masks_are_not_mixed() -> None:
    masked = sample(0)._replace(mask=np.zeros((60, 80), np.uint8))
    with pytest.raises(ValueError, match=r"0\.jpg: mosaics, pasting and mixup are for boxes alone"):
        Mixing(mixup=1.0).mix(masked, [sample(1)], 0)


@dataclass
class Numbers:
    class_names: tuple[str, ...] = tuple("abcdefgh")

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Sample:
        return sample(index)

    def path_of(self, image_id: int) -> Path:
        return Path(f"{image_id}.jpg")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_module_mixes_and_workers_change_nothing(workers: int) -> None:
    augment = DetectionAugment(mosaic_probability=1.0, zoom_out_probability=0, crop_probability=0)
    data = DataModule(train=Numbers(), val=None, augment=augment, size=(60, 80), batch_size=4, num_workers=workers)
    alone = DataModule(train=Numbers(), val=None, augment=augment, size=(60, 80), batch_size=4, num_workers=0)
    for one, other in zip(data.train_dataloader(), alone.train_dataloader(), strict=True):
        assert (one.images == other.images).all()
        assert ((one.labels >= 0).sum(dim=1) > 1).any()
