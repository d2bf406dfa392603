from __future__ import annotations

from typing import Any

import pytest
import torch

from mnv2dense.models.normalize import Normalize


def test_pixels_become_what_weights_expect() -> None:
    normalize = Normalize((0.5, 0.0, -0.5), (0.5, 0.25, 1.0))
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    assert normalize(pixels).flatten(1).tolist() == [[-1, 0, 0.5], [1, 4, 1.5]]


@pytest.mark.parametrize(
    ("mean", "std", "named"),
    [
        ((123.7, 116.3, 103.5), (0.2, 0.2, 0.2), r"backbone\.mean=\(123\.7, "),
        ((0.5, 0.5, 0.5), (58.4, 57.1, 57.4), r"backbone\.std=\(58\.4, "),
        ((0.5, 0.5, 0.5), (0.0, 0.5, 0.5), r"backbone\.std=\(0\.0, "),
        ((0.5, 0.5, 0.5), (0.5, 0.5, float("nan")), r"backbone\.std="),
        ((0.5,), (0.5, 0.5, 0.5), r"backbone\.mean=\(0\.5,\)"),
        (0.5, (0.5, 0.5, 0.5), r"backbone\.mean=0\.5"),
    ],
)
def test_values_of_other_pixels_or_too_few_are_refused(mean: Any, std: Any, named: str) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=named + r".*three numbers are needed, .*scaled to 0\.\.1.*by 255\.$"):
        Normalize(mean, std)
