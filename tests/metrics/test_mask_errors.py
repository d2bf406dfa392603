"""Where masks are wrong: by hand, and beside a loop over pixels."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from mnv2dense.metrics import mask_errors as module
from mnv2dense.metrics.mask_errors import REACH, MaskErrors, WrongRegion, mask_errors
from mnv2dense.types import IGNORE_INDEX


def halves(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Class 0 on the left, 1 on the right."""
    mask = np.zeros((height, width), np.uint8)
    mask[:, width // 2 :] = 1
    return mask


def test_wrong_pixels_at_the_boundary_and_inside_are_told_apart() -> None:
    truth = halves(60, 80)  # the diagonal is 100: one pixel to each side of the boundary
    found = truth.copy()
    found[:, 40] = 0  # the boundary is off by one
    found[10:20, 60:66] = 2  # and something is taken for another thing
    errors = mask_errors(truth, found)
    assert errors.pixels == MaskErrors(counted=4800, wrong=120, near=120, wrong_near=60)
    assert errors.pixels.boundary_share == 0.5
    assert errors.region == WrongRegion(60 / 4800, (60, 10, 66, 20), 1, 2)


def test_ignored_pixels_count_nowhere_and_their_edge_is_a_boundary() -> None:
    truth = halves(60, 80)
    truth[:, 40:43] = IGNORE_INDEX
    found = truth.copy()
    found[truth == IGNORE_INDEX] = 3
    found[:, 43] = 0
    pixels = mask_errors(truth, found).pixels
    assert pixels.counted == 4800 - 180
    assert (pixels.wrong, pixels.wrong_near) == (60, 60)


def test_where_only_outlines_are_wrong_there_is_no_region() -> None:
    truth = halves(60, 80)
    found = np.roll(truth, 1, axis=1)
    found[:, 0] = 0
    assert mask_errors(truth, found).region is None
    assert mask_errors(truth, truth).pixels.wrong == 0


def test_pixels_are_as_a_loop_has_them() -> None:
    random = np.random.default_rng(0)
    for size in ((40, 30), (150, 200)):
        coarse = random.choice([0, 1, 2, IGNORE_INDEX], (size[0] // 10, size[1] // 10)).astype(np.uint8)
        truth = coarse.repeat(10, axis=0).repeat(10, axis=1)
        found = np.where(random.random(size) < 0.2, random.integers(0, 3, size), truth).astype(np.uint8)
        found[truth == IGNORE_INDEX] = 0
        reach = max(1, round(REACH * math.hypot(*size)))
        counts = [0, 0, 0, 0]
        for row in range(size[0]):
            for column in range(size[1]):
                around = truth[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
                if truth[row, column] == IGNORE_INDEX:
                    continue
                wrong, near = truth[row, column] != found[row, column], len(np.unique(around)) > 1
                counts = [a + int(b) for a, b in zip(counts, (True, wrong, near, wrong and near), strict=True)]
        assert list(mask_errors(truth, found).pixels) == counts


def test_in_a_large_image_the_region_is_looked_for_in_fewer_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = np.zeros((60, 80), np.uint8)
    found = truth.copy()
    found[10:20, 60:68] = 2
    monkeypatch.setattr(module, "_SEARCHED", 60 * 80 // 4)
    region = mask_errors(truth, found).region
    assert region is not None
    assert region.box == (60, 10, 68, 20)
    assert region.share == pytest.approx(80 / 4800)
