from __future__ import annotations

import pytest
import torch

from mnv2dense.ops.postprocess import PixelSelection
from mnv2dense.ops.resize import fit, infos
from mnv2dense.types import PixelLogits

NAMES = tuple("abcde")


def test_the_class_of_every_pixel_does_not_depend_on_the_tiles_that_it_is_decided_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A row of 5 million pixels, 146 kB as a PNG, would take all memory if it were not cut across as well."""
    decoded = PixelLogits(torch.randn(1, 5, 9, 7, generator=torch.Generator().manual_seed(0)), (64, 64))
    back = infos([0], [(83, 131)], [fit(83, 131, (64, 64), "letterbox")])
    select = PixelSelection(NAMES, None, align_corners=False)
    whole = select(decoded, back)[0].labels
    assert whole.shape == (83, 131)
    assert len(whole.unique()) == 5
    monkeypatch.setattr("mnv2dense.ops.postprocess._ROWS", 10)
    monkeypatch.setattr("mnv2dense.ops.postprocess._COLUMNS", 17)
    assert torch.equal(select(decoded, back)[0].labels, whole)
