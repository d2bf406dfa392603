"""Temperatures as files keep them, and what is said of others."""

from __future__ import annotations

from typing import Any

import pytest

from mnv2dense.types.temperatures import kept_temperatures, read_temperatures


@pytest.mark.parametrize(("heads", "given"), [(("",), {"": 1.5}), (("boxes", "kinds"), {"kinds": 2.0}), (("",), {})])
def test_what_is_kept_is_read_again(heads: tuple[str, ...], given: dict[str, float]) -> None:
    assert read_temperatures(kept_temperatures(given), heads) == given


@pytest.mark.parametrize(
    ("heads", "given", "message"),
    [
        (("",), 0, "0 is no number above 0"),
        (("",), float("nan"), "nan is no number above 0"),
        (("",), float("inf"), "inf is no number above 0"),
        (("boxes",), {"boxes": "hot"}, "boxes='hot' is no number above 0"),
        (("boxes",), {"cars": 2}, r"of the model's heads with scores \(boxes\)"),
        ((), 2, r"of the model's heads with scores \(it has none\)"),
    ],
)
def test_what_cannot_be_a_temperature_is_refused(heads: tuple[str, ...], given: Any, message: str) -> None:  # noqa: ANN401 - whatever a file has
    with pytest.raises(ValueError, match=message):
        read_temperatures(given, heads)
