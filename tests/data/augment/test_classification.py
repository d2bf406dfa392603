from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mnv2dense.data.augment import ClassificationAugment
from mnv2dense.types import Sample

OFF = {"smallest_area": 1.0, "flip_probability": 0.0, "photometric_probability": 0.0}


def sample(height: int = 60, width: int = 80) -> Sample:
    """Red tells the row, green the column."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(height)[:, None]
    image[..., 1] = np.arange(width)
    return Sample(image, None, np.array([3]), None, 5, Path("a.jpg"))


def only(**parts: float) -> ClassificationAugment:
    return ClassificationAugment(**{**OFF, **parts})  # type: ignore[arg-type]


def test_switched_off_nothing_changes() -> None:
    before = sample()
    after = only()(before, 1)
    assert (after.image == before.image).all()
    assert after.labels is before.labels


def test_a_window_is_cut_out_unscaled_and_within_its_limits() -> None:
    areas, aspects = [], []
    for seed in range(200):
        image = only(smallest_area=0.3, largest_aspect=1.5)(sample(), seed).image
        height, width = image.shape[:2]
        assert (np.diff(image[:, 0, 0].astype(int)) == 1).all()
        assert (np.diff(image[0, :, 1].astype(int)) == 1).all()
        areas.append(height * width / (60 * 80))
        aspects.append(width / height)
    assert 0.25 < min(areas) < 0.4
    assert max(areas) > 0.8
    assert min(aspects) < 0.8
    assert max(aspects) > 1.3


def test_the_mirror_turns_about_half_of_all() -> None:
    turned = [only(flip_probability=0.5)(sample(), seed).image[0, 0, 1] == 79 for seed in range(100)]
    assert 30 < sum(turned) < 70


def test_the_same_seed_gives_the_same_image_and_another_another() -> None:
    augment = ClassificationAugment()
    first, again, other = (augment(sample(), seed).image for seed in (7, 7, 8))
    assert first.shape == again.shape
    assert (first == again).all()
    assert first.shape != other.shape or (first != other).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_thin_images_survive(size: tuple[int, int]) -> None:
    assert 0 not in ClassificationAugment(smallest_area=0.08)(sample(*size), 3).image.shape


@pytest.mark.parametrize(
    ("options", "message"),
    [({"smallest_area": 0.0}, "augment.smallest_area=0.0"), ({"largest_aspect": 0.5}, "augment.largest_aspect=0.5")],
)
def test_a_wrong_option_is_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        only(**options)
