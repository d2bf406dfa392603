from __future__ import annotations

import pytest
import torch

from mnv2dense.ops.postprocess import BoxSelection, PixelSelection
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
    monkeypatch.setattr("mnv2dense.ops.label_map._ROWS", 10)
    monkeypatch.setattr("mnv2dense.ops.label_map._COLUMNS", 17)
    assert torch.equal(select(decoded, back)[0].labels, whole)


@pytest.mark.parametrize("seed", range(4))
def test_several_images_at_once_keep_what_each_keeps_alone(seed: int) -> None:
    """As on a GPU: crowded boxes out of the image too, ties, an image without any box, one with a score of NaN."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(6, 40, 2, generator=generator) * 60 - 20
    boxes = torch.cat((corners, corners + 5 + 30 * torch.rand(6, 40, 2, generator=generator)), dim=-1)
    scores = (torch.rand(6, 40, 3, generator=generator) * 20).round() / 20
    scores[2] = 0
    scores[4, 7, 1] = torch.nan
    select = BoxSelection(NAMES[:3], 0.3, 0.5, 90, 25)
    together = select.kept(boxes, scores)
    for image, found in enumerate(together):
        alone = select.kept(boxes[image : image + 1], scores[image : image + 1])[0]
        assert all(torch.equal(one, other) for one, other in zip(found[::2], alone[::2], strict=True))
        assert torch.equal(found[1].nan_to_num(-1), alone[1].nan_to_num(-1))
    lengths = [len(found[1]) for found in together]
    assert lengths[2] == 0
    assert max(lengths) == 25
