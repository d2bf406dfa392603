"""Parts of a data set that are judged by the others."""

from __future__ import annotations

import numpy as np
import pytest

from mnv2dense.doctor.folds import folds


def test_folds_are_of_equal_size_and_the_same_for_the_same_seed() -> None:
    first = folds(10, 3, seed=1)
    assert np.bincount(first).tolist() == [4, 3, 3]
    assert np.array_equal(first, folds(10, 3, seed=1))
    assert not np.array_equal(first, folds(10, 3, seed=2))


def test_groups_stay_together_and_fill_the_folds_evenly() -> None:
    groups = np.array([5, 5, 5, 5, 1, 1, 2, 2, 9, 8])
    found = folds(10, 2, groups=groups)
    assert all(len(set(found[groups == group])) == 1 for group in set(groups.tolist()))
    assert np.bincount(found).tolist() == [5, 5]


@pytest.mark.parametrize(
    ("count", "parts", "groups", "said"),
    [
        (9, 1, None, "folds=1: at least 2"),
        (2, 3, None, "2 images or groups"),
        (4, 2, [1, 1, 1, 1], "1 images or groups"),
        (4, 2, [1, 2], "2 numbers for 4 images"),
    ],
)
def test_what_cannot_be_split_is_told(count: int, parts: int, groups: list[int] | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        folds(count, parts, groups=None if groups is None else np.array(groups))
