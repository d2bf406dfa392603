"""Deciding lazily gives what deciding every pixel gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mnv2dense.ops import label_map as lazy
from mnv2dense.ops.label_map import Samples, every_pixel, label_map


def samples(
    size: tuple[int, int], logits: Tensor, *, align_corners: bool, letterbox: bool = False
) -> tuple[Samples, Samples]:
    """Of an image of ``size`` whose input has 64 x 64 pixels."""
    height, width = size
    offset = 5.0 if letterbox else 0.0
    vertical = Samples.of(height, (64 - 2 * offset) / height, offset, 64, logits.shape[1], align_corners)
    return vertical, Samples.of(width, 64 / width, 0.0, 64, logits.shape[2], align_corners)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("letterbox", [True, False])
@pytest.mark.parametrize("smooth", [True, False])
def test_every_pixel_of_random_images_has_the_same_class(align_corners: bool, letterbox: bool, smooth: bool) -> None:
    generator = torch.Generator().manual_seed(7)
    for _ in range(20):
        classes, high, wide, height, width = (
            int(torch.randint(low, high, (1,), generator=generator))
            for low, high in ((1, 25), (1, 18), (1, 18), (1, 260), (1, 260))
        )
        logits = torch.randn(classes, high, wide, generator=generator)
        if smooth:
            logits[int(torch.randint(classes, (1,), generator=generator))] += 3  # one class nearly everywhere
        grid = samples((height, width), logits, align_corners=align_corners, letterbox=letterbox)
        assert torch.equal(label_map(logits, *grid), every_pixel(logits, *grid))


def test_of_classes_that_are_level_everywhere_the_first_wins() -> None:
    logits = torch.randint(0, 2, (4, 5, 5), generator=torch.Generator().manual_seed(1)).float()
    logits[2] = logits[1]
    grid = samples((120, 120), logits, align_corners=False)
    labels = label_map(logits, *grid)
    assert torch.equal(labels, every_pixel(logits, *grid))
    assert 2 not in labels
    assert not label_map(torch.zeros(3, 5, 5), *grid).any()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_logits_that_are_no_numbers_are_decided_as_before(value: float) -> None:
    logits = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(2))
    logits[1, 2, 2] = value
    grid = samples((90, 90), logits, align_corners=True)
    assert torch.equal(label_map(logits, *grid), every_pixel(logits, *grid))


def test_most_pixels_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two halves: the classes meet on one line within a column of cells, and nowhere else is a pixel in doubt."""
    logits = torch.full((6, 9, 9), -5.0)
    logits[1, :, :4], logits[4, :, 4:] = 5.0, 15.0
    contested: list[int] = []
    decide = lazy._Rivals.winners

    def counted(rivals: lazy._Rivals, y: Tensor, x: Tensor) -> Tensor:
        contested.append(len(rivals.counts))
        assert (rivals.counts == 2).all()
        return decide(rivals, y, x)

    monkeypatch.setattr(lazy._Rivals, "winners", counted)
    grid = samples((180, 180), logits, align_corners=True)
    labels = label_map(logits, *grid)
    assert labels[:, 0].eq(1).all()
    assert labels[:, -1].eq(4).all()
    assert sum(contested) == 17  # of 12 pixels: two in each of the eight cells down, and the last row, on a cell's edge


def test_a_model_of_as_many_cells_as_pixels_is_decided_pixel_by_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "_by_cells", None)
    logits = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(3))
    label_map(logits, *samples((70, 70), logits, align_corners=False))


def test_a_row_of_millions_of_pixels_is_decided_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(4, 3, 9, generator=torch.Generator().manual_seed(4))
    grid = samples((30, 3000), logits, align_corners=False)
    whole = label_map(logits, *grid)
    monkeypatch.setattr(lazy, "_COLUMNS", 100)
    monkeypatch.setattr(lazy, "_ROWS", 10)
    monkeypatch.setattr(lazy, "_TOGETHER", 7)
    assert torch.equal(label_map(logits, *grid), whole)
    assert torch.equal(every_pixel(logits, *grid), whole)
