"""The default boxes of SSDLite, by count and by hand."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch

from mnv2dense.ops.anchors import anchors_per_cell, default_boxes, map_sizes


@pytest.mark.parametrize(("side", "first_map_anchors", "count"), [(320, 3, 2034), (320, 6, 3234), (300, 3, 1917)])
def test_ssdlite_has_as_many_anchors_as_published(side: int, first_map_anchors: Literal[3, 6], count: int) -> None:
    sizes = map_sizes((side, side))
    boxes = default_boxes(sizes, (side, side), first_map_anchors=first_map_anchors)
    assert boxes.shape == (count, 4)
    assert boxes.dtype == torch.float32
    cells = [height * width for height, width in sizes]
    per_cell = anchors_per_cell(first_map_anchors=first_map_anchors)
    assert sum(n * c for n, c in zip(per_cell, cells, strict=True)) == count


def test_maps_halve_and_round_up() -> None:
    assert map_sizes((300, 320)) == [(19, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]
    assert map_sizes((33, 64), first_stride=8, count=2) == [(5, 8), (3, 4)]


def test_the_first_map_has_a_small_square_and_two_oblongs() -> None:
    boxes = default_boxes(map_sizes((320, 320)), (320, 320))[:3]
    sizes = (boxes[:, 2:] - boxes[:, :2]).tolist()
    assert sizes[0] == pytest.approx([32, 32])
    assert sizes[1] == pytest.approx([64 * math.sqrt(2), 64 / math.sqrt(2)])
    assert sizes[2] == pytest.approx([64 / math.sqrt(2), 64 * math.sqrt(2)])
    assert ((boxes[:, :2] + boxes[:, 2:]) / 2).flatten().tolist() == pytest.approx([8.0] * 6)


def test_the_last_map_has_six_around_the_middle_and_its_extra_lies_towards_the_whole_image() -> None:
    boxes = default_boxes(map_sizes((320, 320)), (320, 320))[-6:]
    widths, heights = (boxes[:, 2:] - boxes[:, :2]).div(320).unbind(1)
    assert (widths / heights).tolist() == pytest.approx([1, 2, 1 / 2, 3, 1 / 3, 1])
    assert (widths * heights).sqrt().tolist() == pytest.approx([0.95] * 5 + [math.sqrt(0.95)])
    assert ((boxes[:, :2] + boxes[:, 2:]) / 2).flatten().tolist() == pytest.approx([160.0] * 12, abs=1e-3)


def test_a_first_map_of_six_looks_like_the_others() -> None:
    boxes = default_boxes([(1, 1), (1, 1)], (100, 100), scales=(0.2, 0.45), first_map_anchors=6)
    side = (boxes[:, 2] - boxes[:, 0]).tolist()
    assert side[0] == pytest.approx(20)
    assert side[5] == pytest.approx(100 * math.sqrt(0.2 * 0.45))
    assert side[6] == pytest.approx(45)


def test_order_is_map_row_column_anchor_and_sizes_follow_the_image() -> None:
    rows, columns, height, width = 2, 3, 200, 600
    boxes = default_boxes([(rows, columns)], (height, width), scales=(0.2,))
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2).view(rows, columns, 3, 2)
    torch.testing.assert_close(centres[1, 2, 0], torch.tensor([500.0, 150.0]))
    torch.testing.assert_close(centres[0, 1, 2], torch.tensor([300.0, 50.0]))
    assert (boxes[0, 2:] - boxes[0, :2]).tolist() == pytest.approx([60, 20])


def test_scales_that_do_not_fit_the_maps_are_named() -> None:
    with pytest.raises(ValueError, match=r"6 anchor scales for 2 feature maps.*Give 2 scales"):
        default_boxes([(2, 2), (1, 1)], (32, 32))


def test_a_first_map_of_four_is_refused() -> None:
    with pytest.raises(ValueError, match="first_map_anchors is 4"):
        anchors_per_cell(first_map_anchors=4)  # type: ignore[arg-type]
