"""Masks that lie wrong, regions of a wrong class and regions that are missing."""

from __future__ import annotations

import numpy as np
import pytest

from mnv2dense.doctor.wrong_masks import Shift, doubted_regions, mask_score, shift_of


def believed(classes: np.ndarray, *, sure: float = 0.9, count: int = 3) -> np.ndarray:
    """Probabilities [K, h, w]: ``sure`` of these classes, the rest spread evenly."""
    rest = (1 - sure) / (count - 1)
    return np.where(np.arange(count)[:, None, None] == classes, sure, rest).astype(np.float32)


def scene() -> np.ndarray:
    """20 x 24 of class 0 with a 6 x 6 square of class 1."""
    mask = np.zeros((20, 24), np.uint8)
    mask[4:10, 5:11] = 1
    return mask


def test_a_right_mask_has_no_suspects() -> None:
    mask, said = scene(), believed(scene())
    assert doubted_regions(mask, said) == []
    assert shift_of(mask, said) == Shift(0.0, 0, 0)
    assert mask_score(mask, said) == pytest.approx(0.9)


def test_a_region_of_a_wrong_class_is_named_whole() -> None:
    given = scene()
    given[given == 1] = 2
    (region,) = doubted_regions(given, believed(scene()))
    assert region.score == pytest.approx(0.85 * 36 / (36 + 20))
    assert region[1:] == (2, 1, (5, 4, 11, 10), 36, True)


def test_a_missing_region_is_something_inside_another() -> None:
    (region,) = doubted_regions(np.zeros((20, 24), np.uint8), believed(scene()))
    # 36 cells gain 0.85 each; the 20 at the edge count once more below; 36 cells are trusted by 36 / 56.
    assert region.score == pytest.approx(36 * 0.85 / 56 * 36 / 56)
    assert region[1:] == (0, 1, (5, 4, 11, 10), 36, False)


def test_an_edge_that_is_a_cell_off_scores_less_than_a_region() -> None:
    wider = scene()
    wider[4:10, 11] = 1
    (edge,) = doubted_regions(wider, believed(scene()))
    assert edge.cells == 6
    assert edge.score == pytest.approx(0.85 / 2 * 6 / 26), "all of it is edge"


def test_a_shifted_mask_finds_its_place() -> None:
    given = np.roll(scene(), (-2, 3), axis=(0, 1))
    shift = shift_of(given, believed(scene()))
    assert (shift.down, shift.right) == (2, -3)
    assert 0 < shift.score <= 1


def test_nothing_is_gained_by_covering_what_does_not_fit_with_ignored_cells() -> None:
    given, said = np.zeros((20, 24), np.uint8), believed(scene())
    given[4:10, 12:18] = 255  # as large as the square that lies to the left of it and is not annotated
    assert shift_of(given, said) == Shift(0.0, 0, 0)


def test_ignored_pixels_are_no_suspects() -> None:
    given = scene()
    given[given == 1] = 255
    assert doubted_regions(given, believed(scene())) == []
    assert mask_score(np.full((5, 5), 255, np.uint8), believed(np.zeros((5, 5)))) == 1.0


def test_one_doubted_region_lowers_the_score_of_an_image() -> None:
    given = scene()
    given[given == 1] = 2
    said = believed(scene())
    assert mask_score(given, said) < 0.2 < mask_score(scene(), said)
