from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from mnv2dense.utils.numbers import is_number, is_whole


@pytest.mark.parametrize("value", [0, -3, 2**70, np.int64(5), np.uint8(1)])
def test_whole(value: object) -> None:
    assert is_whole(value)
    assert is_number(value)


@pytest.mark.parametrize("value", [0.5, 1.0, float("nan"), np.float32(1), np.float64(1), Fraction(1, 2)])
def test_numbers_that_are_not_whole(value: object) -> None:
    assert is_number(value)
    assert not is_whole(value)


@pytest.mark.parametrize("value", [True, np.bool_(True), "1", None, 1j, [1], torch.tensor(1)])
def test_no_numbers(value: object) -> None:
    assert not is_number(value)
    assert not is_whole(value)
