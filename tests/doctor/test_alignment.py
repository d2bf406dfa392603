from __future__ import annotations

import cv2
import numpy as np
import pytest

from mnv2dense.doctor.alignment import aligned_correlation
from mnv2dense.doctor.descriptors import normalised
from tests.doctor.test_descriptors import pictures


def cut(picture: np.ndarray, left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """A picture without these shares of it, back at 32 x 32."""
    large = cv2.resize(picture, (320, 320), interpolation=cv2.INTER_CUBIC)
    part = large[round(320 * top) : round(320 * (1 - bottom)), round(320 * left) : round(320 * (1 - right))]
    made: np.ndarray = cv2.resize(part, (32, 32), interpolation=cv2.INTER_AREA)
    return made


@pytest.mark.parametrize("shares", [(0.05, 0.0, 0.0, 0.05), (0.05, 0.05, 0.05, 0.05), (0.0, 0.04, 0.02, 0.0)])
def test_a_cut_picture_is_alike_once_it_is_aligned(shares: tuple[float, float, float, float]) -> None:
    own = pictures(520 if shares[2] else 60)  # more than are aligned together
    parts = np.stack([cut(picture, *shares) for picture in own])
    raw = (normalised(own) * normalised(parts)).sum(axis=1)
    aligned = aligned_correlation(own, parts)
    assert aligned.shape == (len(own),)
    assert np.quantile(aligned, 0.05) > 0.97 > np.quantile(raw, 0.05)
    assert np.quantile(aligned_correlation(parts, own), 0.05) > 0.97


def test_unlike_pictures_stay_unlike_and_brightness_does_not_matter() -> None:
    own, others = pictures(100), pictures(100, seed=1)
    assert aligned_correlation(own, others).max() < 0.9
    darker = (own * 0.5 + 20).astype(np.uint8)
    assert aligned_correlation(own, darker).min() > 0.999
    assert aligned_correlation(own[:0], own[:0]).shape == (0,)
