from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from mnv2dense.utils.numbers import is_number, is_whole, whole


@pytest.mark.parametrize("value", [0, -3, 2**70])
def test_whole(value: object) -> None:
    assert is_whole(value)
    assert is_number(value)
    assert whole(value) == value


@pytest.mark.parametrize("value", [np.int64(5), np.uint8(5)])
def test_numpys_are_whole_once_they_are_pythons(value: object) -> None:
    assert not is_whole(value)
    assert whole(value) == 5
    assert type(whole(value)) is int


@pytest.mark.parametrize("value", [0.5, 1.0, float("nan"), np.float64(1)])
def test_numbers_that_are_not_whole(value: object) -> None:
    assert is_number(value)
    assert not is_whole(value)


@pytest.mark.parametrize(
    "value", [True, np.bool_(True), "1", None, 1j, [1], torch.tensor(1), Fraction(1, 2), np.float32(1)]
)
def test_no_numbers(value: object) -> None:
    assert not is_number(value)
    assert not is_whole(value)
    assert whole(value) is None
