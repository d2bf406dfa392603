from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mnv2dense.data.augment import SegmentationAugment, segmentation
from mnv2dense.types import IGNORE_INDEX, Sample

_BLUR = cv2.GaussianBlur
OFF = {"flip_probability": 0.0, "photometric_probability": 0.0}


def sample(height: int = 60, width: int = 80) -> Sample:
    """Four quarters, each with a colour and a class of its own."""
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 2, width // 2 :] = 1
    mask[height // 2 :, : width // 2] = 2
    mask[height // 2 :, width // 2 :] = 3
    image = np.stack([40 + 40 * mask] * 3, axis=2).astype(np.uint8)
    return Sample(image, None, None, mask, 5, Path("a.jpg"))


def only(**parts: object) -> SegmentationAugment:
    return SegmentationAugment(**{"size": (64, 96), **OFF, **parts})  # type: ignore[arg-type]


def test_at_its_own_scale_a_smaller_image_lies_whole_in_the_crop() -> None:
    before = sample(40, 50)
    after = only(smallest_scale=1, largest_scale=1)(before, 3)
    assert after.image.shape == (64, 96, 3)
    assert after.mask is not None
    rows, columns = np.nonzero(after.mask != IGNORE_INDEX)
    top, left = rows.min(), columns.min()
    inside = np.s_[top : top + 40, left : left + 50]
    # The window may lie between pixels, by less than half of one.
    assert (after.mask[inside] == before.mask).mean() > 0.93
    assert after.mask.size - (after.mask == IGNORE_INDEX).sum() == pytest.approx(2000, abs=60)
    assert (after.image[after.mask == IGNORE_INDEX] == 127).mean() > 0.9


def test_image_and_mask_take_the_same_window() -> None:
    for seed in range(40):
        after = SegmentationAugment(size=(64, 96), photometric_probability=0)(sample(), seed)
        assert after.mask is not None
        inside = after.mask != IGNORE_INDEX
        wanted = 40 + 40 * after.mask[inside].astype(int)
        # Where classes meet, and at the image's border, colours blend; masks never do.
        assert (np.abs(after.image[inside][:, 0].astype(int) - wanted) <= 2).mean() > 0.85
        assert set(np.unique(after.mask)) <= {0, 1, 2, 3, IGNORE_INDEX}


def test_scales_reach_both_ends() -> None:
    shares = []
    for seed in range(100):
        mask = only(size=(60, 80), smallest_scale=0.5, largest_scale=2.0)(sample(), seed).mask
        assert mask is not None
        shares.append((mask != IGNORE_INDEX).mean())
    assert min(shares) < 0.35  # half the sides, a quarter of the area
    assert max(shares) == 1.0


def test_the_same_seed_gives_the_same_and_another_another() -> None:
    augment = SegmentationAugment(size=(64, 96))
    first, again, other = (augment(sample(), seed) for seed in (7, 7, 8))
    assert (first.image == again.image).all()
    assert (first.mask == again.mask).all()  # type: ignore[union-attr]
    assert (first.image != other.image).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_thin_images_and_images_all_void_survive(size: tuple[int, int]) -> None:
    thin = sample(*size)._replace(mask=np.full(size, IGNORE_INDEX, np.uint8))
    after = SegmentationAugment(size=(64, 96))(thin, 3)
    assert after.image.shape == (64, 96, 3)
    assert (after.mask == IGNORE_INDEX).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smallest_scale": 2.0, "largest_scale": 1.0}, "both above 0, in this order"),
        ({"smallest_scale": 0.0}, "both above 0"),
        ({"size": (16, 64)}, "at least 32 pixels"),
        ({"size": 64}, r"augment.size=64: height and width are needed"),
        ({"size": [64]}, r"augment.size=\[64\]: height and width are needed"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        only(**options)


def test_data_without_masks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a.jpg: augment=crop is for masks, and the data has none"):
        only()(sample()._replace(mask=None), 1)


def test_only_what_the_crop_shows_is_blurred_and_as_if_the_whole_image_were(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    noise = sample(600, 800)._replace(image=rng.integers(0, 256, (600, 800, 3), np.uint8))
    augment = only(smallest_scale=0.55, largest_scale=0.85)
    blurred: list[int] = []

    def blur(image: Any, *given: Any) -> Any:  # noqa: ANN401
        blurred.append(image.size)
        return _BLUR(image, *given)

    monkeypatch.setattr("mnv2dense.data.augment.segmentation.cv2.GaussianBlur", blur)
    ours = [augment(noise, seed).image for seed in range(8)]
    assert 0 < max(blurred) < noise.image.size / 4
    monkeypatch.setattr(segmentation, "_blurred", lambda image, sigma, _: _BLUR(image, (0, 0), sigma))
    assert all((augment(noise, seed).image == image).all() for seed, image in enumerate(ours))
