"""Suppression without sizes that depend on values keeps what suppression by its definition keeps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mnv2dense.ops.boxes import nms
from mnv2dense.ops.fixed_shape_nms import fixed_shape_nms


def _scene(seed: int, count: int, classes: int) -> tuple[Tensor, Tensor]:
    """Crowded boxes, some of them empty and some there twice; scores that are all different."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 40, (count, 2), generator=generator)
    boxes = torch.cat((corners, corners + torch.randint(0, 30, (count, 2), generator=generator)), dim=1).float()
    boxes[count // 2 : count // 2 + 5] = boxes[:5]
    boxes[-4:] = torch.tensor([7.0, 7.0, 7.0, 7.0])
    scores = (torch.randperm(count * classes, generator=generator) + 1).float() / (count * classes + 1)
    return boxes, scores.view(count, classes)


@pytest.mark.parametrize("threshold", [0.0, 0.45, 0.6])
@pytest.mark.parametrize("limit", [5, 100])
def test_the_same_boxes_in_the_same_order(threshold: float, limit: int) -> None:
    for seed in range(20):
        boxes, scores = _scene(seed, count=60, classes=3)
        values, pairs = scores.flatten().topk(120)
        values, pairs = values[values >= 0.4], pairs[values >= 0.4]
        candidates, labels = boxes[pairs // 3], pairs % 3
        kept = nms(candidates, values, labels, iou_threshold=threshold, limit=limit)
        found = fixed_shape_nms(
            boxes[None], scores[None], score_threshold=0.4, nms_threshold=threshold, candidates=120, limit=limit
        )
        count = len(kept)
        assert torch.equal(found[0][0, :count], candidates[kept])
        assert torch.equal(found[1][0, :count], values[kept])
        assert found[2][0].tolist() == [*labels[kept].tolist(), *[-1] * (limit - count)]
        assert not found[0][0, count:].any()
        assert not found[1][0, count:].any()


def test_images_of_a_batch_are_looked_at_one_by_one() -> None:
    scenes = [_scene(seed, count=30, classes=2) for seed in (1, 2)]
    boxes, scores = (torch.stack(parts) for parts in zip(*scenes, strict=True))

    def suppress(boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return fixed_shape_nms(boxes, scores, score_threshold=0.5, nms_threshold=0.5, candidates=40, limit=10)

    for together, first, second in zip(
        suppress(boxes, scores), suppress(boxes[:1], scores[:1]), suppress(boxes[1:], scores[1:]), strict=True
    ):
        assert torch.equal(together, torch.cat((first, second)))


def test_a_box_that_is_no_number_suppresses_nothing_and_spoils_nothing() -> None:
    boxes, scores = _scene(3, count=30, classes=1)
    scores = scores * 0.9
    broken, best = torch.cat((boxes, boxes[:1])), torch.cat((scores, torch.full((1, 1), 0.99)))
    broken[-1, 2] = torch.nan
    (kept, _, _), (expected, _, _) = (
        fixed_shape_nms(*pair, score_threshold=0.4, nms_threshold=0.5, candidates=31, limit=10)
        for pair in ((broken[None], best[None]), (boxes[None], scores[None]))
    )
    assert torch.equal(kept[0, 1:], expected[0, :-1])


def test_a_box_without_end_is_a_box() -> None:
    boxes = torch.tensor([[[0.0, 0, torch.inf, 10], [0, 0, 10, 10], [50, 50, 60, 60]]])
    scores = torch.tensor([[[0.9], [0.8], [0.7]]])
    kept, _, labels = fixed_shape_nms(boxes, scores, score_threshold=0.5, nms_threshold=0.5, candidates=3, limit=3)
    assert labels.tolist() == [[0, 0, 0]]  # it overlaps none by a half
    assert torch.equal(kept, boxes)
