"""Box arithmetic on boxes small enough to check by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, tensor

from mnv2dense.ops import boxes as box_math


def test_formats_convert_both_ways() -> None:
    xywh = tensor([[[10.0, 20.0, 5.0, 8.0]]])
    xyxy = tensor([[[10.0, 20.0, 15.0, 28.0]]])
    assert torch.equal(box_math.xywh_to_xyxy(xywh), xyxy)
    assert torch.equal(box_math.xyxy_to_xywh(xyxy), xywh)


def test_area_of_a_degenerate_box_is_zero() -> None:
    boxes = tensor([[0.0, 0.0, 4.0, 3.0], [5.0, 5.0, 5.0, 9.0], [8.0, 8.0, 2.0, 2.0]])
    assert box_math.area(boxes).tolist() == [12.0, 0.0, 0.0]


def test_iou_of_a_quarter_overlap_is_one_seventh() -> None:
    first = tensor([[0.0, 0.0, 2.0, 2.0]])
    second = tensor([[1.0, 1.0, 3.0, 3.0], [0.0, 0.0, 2.0, 2.0], [2.0, 0.0, 4.0, 2.0], [7.0, 7.0, 9.0, 9.0]])
    assert box_math.pairwise_iou(first, second)[0].tolist() == pytest.approx([1 / 7, 1.0, 0.0, 0.0])


def test_degenerate_boxes_overlap_nothing_not_even_themselves() -> None:
    point, inverted = [3.0, 3.0, 3.0, 3.0], [4.0, 4.0, 1.0, 1.0]
    boxes = tensor([point, inverted, [0.0, 0.0, 9.0, 9.0]])
    expected = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    assert box_math.pairwise_iou(boxes, boxes).tolist() == expected
    assert box_math.pairwise_coverage(boxes, boxes).tolist() == expected


def test_coverage_is_the_share_of_the_second_box() -> None:
    crowd = tensor([[0.0, 0.0, 100.0, 100.0]])
    anchors = tensor([[10.0, 10.0, 20.0, 20.0], [95.0, 0.0, 105.0, 10.0]])
    assert box_math.pairwise_coverage(crowd, anchors)[0].tolist() == pytest.approx([1.0, 0.5])


def test_pairs_broadcast_over_leading_dimensions() -> None:
    corners = torch.rand(2, 5, 2, 2, generator=torch.Generator().manual_seed(0)).sort(dim=2).values
    batch = corners.flatten(2)
    anchors = batch[0, :3]
    iou = box_math.pairwise_iou(batch, anchors)
    assert iou.shape == (2, 5, 3)
    for image in range(2):
        assert torch.equal(iou[image], box_math.pairwise_iou(batch[image], anchors))
    assert box_math.pairwise_iou(batch[:, :0], anchors).shape == (2, 0, 3)


def test_iou_is_differentiable() -> None:
    corner = tensor([[0.0, 0.0, 2.0, 2.0]], requires_grad=True)
    box_math.pairwise_iou(corner, tensor([[1.0, 1.0, 3.0, 3.0]])).sum().backward()
    assert corner.grad is not None
    assert corner.grad[0, 2] > 0  # moving the right edge towards the other box raises the overlap


def test_encoding_is_relative_to_the_anchor_and_scaled() -> None:
    anchors = tensor([[0.0, 0.0, 10.0, 20.0]])
    twice_as_wide_one_to_the_right = tensor([[-4.0, 0.0, 16.0, 20.0]])
    deltas = box_math.encode(twice_as_wide_one_to_the_right, anchors)
    assert deltas[0].tolist() == pytest.approx([10 * 1 / 10, 0.0, 5 * math.log(2), 0.0])
    unscaled = box_math.encode(twice_as_wide_one_to_the_right, anchors, scales=(1.0, 1.0, 1.0, 1.0))
    assert unscaled[0].tolist() == pytest.approx([0.1, 0.0, math.log(2), 0.0])


def test_decoding_undoes_encoding() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(3, 50, 2, generator=generator) * 300 - 20
    boxes = torch.cat((corners, corners + 1 + 80 * torch.rand(3, 50, 2, generator=generator)), dim=-1)
    anchors = boxes[0].flip(0)
    torch.testing.assert_close(box_math.decode(box_math.encode(boxes, anchors), anchors), boxes, atol=1e-3, rtol=0)


def test_encoding_a_degenerate_box_is_finite() -> None:
    boxes = tensor([[5.0, 5.0, 5.0, 5.0], [9.0, 9.0, 1.0, 1.0]])
    anchors = tensor([[0.0, 0.0, 10.0, 10.0]]).expand(2, 4)
    assert box_math.encode(boxes, anchors).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_decoding_absurd_deltas_is_finite_and_in_the_anchors_type(dtype: torch.dtype) -> None:
    anchors = tensor([[0.0, 0.0, 16.0, 16.0]])
    decoded = box_math.decode(tensor([[[0.0, 0.0, 6e4, -6e4]]], dtype=dtype), anchors)
    assert decoded.dtype == torch.float32
    assert decoded[0, 0].tolist() == pytest.approx([8 - 500, 8, 8 + 500, 8])


def test_clipping_keeps_boxes_inside_the_image() -> None:
    boxes = tensor([[[-5.0, 2.0, 50.0, 9.0], [40.0, -9.0, 60.0, -1.0], [1.0, 2.0, 3.0, 4.0]]])
    expected = [[0.0, 2.0, 30.0, 9.0], [30.0, 0.0, 30.0, 0.0], [1.0, 2.0, 3.0, 4.0]]
    assert box_math.clip(boxes, height=20, width=30)[0].tolist() == expected


def test_nms_drops_the_weaker_of_two_alike_but_only_within_a_class() -> None:
    boxes = tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [0.0, 0.0, 10.0, 9.5], [50.0, 0.0, 60.0, 9.0]])
    scores = tensor([0.6, 0.9, 0.7, 0.2])
    labels = tensor([0, 0, 1, 0])
    assert box_math.nms(boxes, scores, labels, iou_threshold=0.6, limit=100).tolist() == [1, 2, 3]
    assert box_math.nms(boxes, scores, labels, iou_threshold=0.95, limit=100).tolist() == [1, 2, 0, 3]


def test_nms_keeps_the_best_up_to_its_limit() -> None:
    boxes = torch.arange(5.0)[:, None] * 100 + tensor([0.0, 0.0, 10.0, 10.0])
    scores = tensor([0.1, 0.5, 0.3, 0.9, 0.2])
    kept = box_math.nms(boxes, scores, torch.zeros(5, dtype=torch.int64), iou_threshold=0.6, limit=2)
    assert kept.tolist() == [3, 1]


@pytest.mark.parametrize("spread", [40, 4000])  # where most are dropped, and where hardly any is
def test_the_best_that_fill_the_limit_are_those_of_all_boxes(spread: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    corners = torch.rand(300, 2, generator=generator) * spread
    boxes = torch.cat([corners, corners + 5 + 20 * torch.rand(300, 2, generator=generator)], dim=1)
    scores = (torch.rand(300, generator=generator) * 50).round() / 50  # many are equal
    labels = torch.randint(0, 3, (300,), generator=generator)
    found = [box_math.nms(boxes, scores, labels, iou_threshold=0.3, limit=limit) for limit in (1, 20, 59, 60)]
    monkeypatch.setattr("mnv2dense.ops.boxes._FIRST", 300)
    for kept in found:
        assert torch.equal(kept, box_math.nms(boxes, scores, labels, iou_threshold=0.3, limit=300)[: len(kept)])
    assert [len(kept) for kept in found][:2] == [1, 20]


def test_nms_of_nothing_is_nothing() -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    assert box_math.nms(torch.zeros(0, 4), torch.zeros(0), empty, iou_threshold=0.6, limit=9).tolist() == []


def test_boxes_that_reach_out_of_the_image_do_not_meet_those_of_another_class() -> None:
    boxes = tensor([[0.0, 0.0, 320.0, 320.0], [-310.0, 0.0, 10.0, 320.0]])
    kept = box_math.nms(boxes, tensor([0.9, 0.8]), tensor([0, 1]), iou_threshold=0.5, limit=9)
    assert kept.tolist() == [0, 1]


@pytest.mark.parametrize("overflow", [torch.inf, torch.nan])
def test_what_overflows_in_one_image_does_not_undo_the_others(overflow: float) -> None:
    boxes = tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [0.0, 0.0, overflow, 9.0]])
    kept = box_math.nms_of_images(
        boxes,
        tensor([0.9, 0.8, 0.7]),
        torch.zeros(3, dtype=torch.int64),
        tensor([0, 0, 1]),
        images=2,
        iou_threshold=0.5,
        limit=9,
    )
    assert [each.tolist() for each in kept] == [[0], [2]]


class _OnAppleGpu(Tensor):
    """A tensor that says it is on one, and has no float64, as there."""

    @property
    def device(self) -> torch.device:
        return torch.device("mps")

    def double(self) -> Tensor:  # type: ignore[override]
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    def cpu(self) -> Tensor:  # type: ignore[override]
        return self.as_subclass(Tensor)


def test_nms_needs_no_float64_of_a_device_that_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    went: list[torch.device] = []
    real = Tensor.to
    monkeypatch.setattr(Tensor, "to", lambda kept, device: (went.append(device), real(kept, "cpu"))[1])
    boxes = tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [20.0, 0.0, 30.0, 10.0]])
    parts = (boxes, tensor([0.6, 0.9, 0.5]), tensor([0, 0, 0]))
    kept = box_math.nms(*(part.as_subclass(_OnAppleGpu) for part in parts), iou_threshold=0.5, limit=10)
    assert kept.tolist() == [1, 2]
    assert went == [torch.device("mps")]  # and back
