"""Matching: worked examples, and equality to a plain loop over images and boxes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, tensor

from mnv2dense.ops.anchors import default_boxes, map_sizes
from mnv2dense.ops.boxes import decode, pairwise_iou
from mnv2dense.ops.matching import BACKGROUND, anchor_recall, assign, match
from mnv2dense.types import IGNORE_LABEL, PADDING_LABEL, Batch, Infos

_LEFT = [0.0, 0.0, 10.0, 10.0]
_RIGHT = [20.0, 0.0, 30.0, 10.0]
_PADDING = [0.0, 0.0, 0.0, 0.0]


def _match(anchors: list[list[float]], boxes: list[list[float]], labels: list[int]) -> list[int]:
    """Match one image."""
    matches: list[int] = match(tensor(anchors), tensor([boxes]), tensor([labels]))[0].tolist()
    return matches


def make_batch(boxes: Tensor, labels: Tensor) -> Batch:
    """A batch of which box losses read only boxes and labels."""
    images = len(boxes)
    pairs = torch.ones(images, 2)
    infos = Infos(torch.arange(images), torch.full((images, 2), 64), pairs, 0 * pairs)
    return Batch(torch.zeros(images, 3, 64, 64, dtype=torch.uint8), boxes, labels, None, infos)


def random_truth(*, seed: int, images: int = 4, truths: int = 12, side: float = 64) -> tuple[Tensor, Tensor]:
    """Boxes [B, M, 4], labels [B, M]: objects of 3 classes, crowds, padding; the last image is empty."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(images, truths, 2, generator=generator) * side * 0.7
    size = 2 + torch.rand(images, truths, 2, generator=generator) ** 2 * side * 0.7
    boxes = torch.cat((corner, (corner + size).clamp(max=side)), dim=-1)
    labels = torch.randint(0, 3, (images, truths), generator=generator)
    labels[0, 1] = labels[-2, 0] = IGNORE_LABEL
    count = torch.randint(2, truths + 1, (images, 1), generator=generator)
    count[-1] = 0
    labels[torch.arange(truths) >= count] = PADDING_LABEL
    boxes[labels == PADDING_LABEL] = 0
    return boxes, labels


def match_one_image(anchors: Tensor, boxes: Tensor, labels: Tensor, threshold: float) -> list[int]:
    """The rules of `match` again, one image and one box at a time."""
    matches = [BACKGROUND] * len(anchors)
    iou = pairwise_iou(boxes, anchors)
    objects = [i for i, label in enumerate(labels.tolist()) if label >= 0]
    for a, (x1, y1, x2, y2) in enumerate(anchors.tolist()):
        for i in range(len(boxes)):
            if labels[i] != IGNORE_LABEL:
                continue
            cx1, cy1, cx2, cy2 = boxes[i].tolist()
            inside = max(0, min(x2, cx2) - max(x1, cx1)) * max(0, min(y2, cy2) - max(y1, cy1))
            if inside > 0.5 * (x2 - x1) * (y2 - y1):
                matches[a] = IGNORE_LABEL
        best = max(objects, key=lambda i: float(iou[i, a]), default=-1)
        if best >= 0 and iou[best, a] >= threshold:
            matches[a] = best

    wanted: dict[int, list[tuple[float, int]]] = {}  # truth -> its eight best (suitability, anchor), best first
    for i in objects:
        top = sorted(range(len(anchors)), key=lambda a: -float(iou[i, a]))[:8]
        centre = (boxes[i, :2] + boxes[i, 2:]) / 2
        wanted[i] = []
        for a in top:
            offset = ((anchors[a, :2] + anchors[a, 2:]) / 2 - centre) / (anchors[a, 2:] - anchors[a, :2])
            if iou[i, a] > 0:
                wanted[i].append((float(iou[i, a] - 1e-3 * offset.abs().sum()), a))
        wanted[i].sort(key=lambda pair: -pair[0])
    holder: dict[int, tuple[float, int]] = {}  # anchor -> (suitability, truth)
    for _ in range(8):
        for i in objects:
            if wanted[i] and all(truth != i for _, truth in holder.values()):
                suitability, a = wanted[i][0]
                if a not in holder or suitability > holder[a][0]:
                    holder[a] = (suitability, i)
        held = {truth for _, truth in holder.values()}
        for i in objects:
            if i not in held:
                wanted[i] = wanted[i][1:]
    for a, (_, i) in holder.items():
        matches[a] = i
    return matches


def test_an_anchor_takes_the_truth_it_overlaps_most() -> None:
    assert _match([_LEFT, _RIGHT], [[21.0, 0.0, 30.0, 10.0], [0.0, 0.0, 10.0, 8.0]], [5, 5]) == [1, 0]


def test_every_truth_gets_its_best_anchor_even_far_below_the_threshold() -> None:
    assert _match([_LEFT, _RIGHT], [[0.0, 0.0, 2.0, 2.0]], [0]) == [0, BACKGROUND]


def test_a_second_anchor_follows_only_from_the_threshold_on() -> None:
    half = [0.0, 0.0, 10.0, 5.0]  # IoU exactly 0.5 with the truth
    less = [0.0, 0.0, 10.0, 4.9]
    assert _match([_LEFT, half, less], [_LEFT], [0]) == [0, 0, BACKGROUND]


def test_of_two_truths_with_the_same_best_anchor_the_closer_wins_and_the_other_takes_its_next_best() -> None:
    beside = [6.0, 0.0, 16.0, 10.0]
    small, large = [4.0, 4.0, 8.0, 8.0], [1.0, 1.0, 9.0, 9.0]
    assert _match([_LEFT, beside], [small, large], [0, 0]) == [1, 0]
    assert _match([_LEFT, beside], [large, small], [0, 0]) == [0, 1]


def test_of_equal_truths_the_first_wins() -> None:
    beside = [6.0, 0.0, 16.0, 10.0]
    assert _match([_LEFT, beside], [_LEFT, _LEFT], [0, 1]) == [0, 1]


def test_eight_equal_truths_share_eight_anchors_one_each() -> None:
    shifted = [[float(i), 0.0, 20.0 + i, 20.0] for i in range(8)]
    truth = [[10.0, 5.0, 12.0, 7.0]] * 8
    assert sorted(_match(shifted, truth, [0] * 8)) == list(range(8))


def test_of_anchors_that_fit_equally_the_nearest_is_taken() -> None:
    off_centre, around = [0.0, 0.0, 32.0, 32.0], [16.0, 0.0, 48.0, 32.0]
    assert _match([off_centre, around], [[27.0, 14.0, 31.0, 18.0]], [0]) == [BACKGROUND, 0]


def test_with_more_truths_than_anchors_the_best_fitting_are_matched() -> None:
    truths = [[0.0, 0.0, 10.0, height] for height in (3.0, 9.0, 5.0)]
    assert _match([_LEFT], truths, [0, 0, 0]) == [1]


def test_padding_matches_nothing() -> None:
    assert _match([_LEFT, _RIGHT], [_PADDING, _PADDING], [PADDING_LABEL] * 2) == [BACKGROUND] * 2
    # Even a row whose box was not zeroed.
    assert _match([_LEFT, _RIGHT], [_LEFT, _RIGHT], [PADDING_LABEL, 0]) == [BACKGROUND, 1]


def test_a_truth_that_meets_no_anchor_or_has_no_area_matches_nothing() -> None:
    assert _match([_LEFT], [[50.0, 50.0, 60.0, 60.0], [5.0, 5.0, 5.0, 5.0]], [0, 0]) == [BACKGROUND]


def test_no_rows_at_all_is_all_background() -> None:
    matches = match(tensor([_LEFT, _RIGHT]), torch.zeros(3, 0, 4), torch.zeros(3, 0, dtype=torch.int64))
    assert matches.tolist() == [[BACKGROUND] * 2] * 3


def test_anchors_mostly_inside_a_crowd_are_ignored_unless_they_show_an_object() -> None:
    half_inside = [15.0, 0.0, 35.0, 10.0]
    crowd = [0.0, 0.0, 25.0, 100.0]
    assert _match([_LEFT, half_inside, _RIGHT], [crowd], [IGNORE_LABEL]) == [IGNORE_LABEL, BACKGROUND, BACKGROUND]
    assert _match([_LEFT, half_inside, _RIGHT], [crowd, _LEFT], [IGNORE_LABEL, 3]) == [
        1,
        BACKGROUND,
        BACKGROUND,
    ]


@pytest.mark.parametrize("seed", range(6))
def test_a_batch_matches_as_a_loop_over_images_and_boxes_does(seed: int) -> None:
    anchors = default_boxes([(4, 4), (2, 2)], (64, 64), scales=(0.3, 0.7))
    boxes, labels = random_truth(seed=seed, truths=40 if seed % 2 else 8)
    found = match(anchors, boxes, labels, threshold=0.5)
    for image in range(len(boxes)):
        expected = match_one_image(anchors, boxes[image], labels[image], 0.5)
        assert found[image].tolist() == expected


def test_targets_decode_to_the_matched_boxes() -> None:
    anchors = default_boxes(map_sizes((64, 64), count=2), (64, 64), scales=(0.3, 0.7))
    boxes, labels = random_truth(seed=1)
    matches = match(anchors, boxes, labels)
    targets = assign(anchors, make_batch(boxes, labels))
    decoded = decode(targets.deltas, anchors)
    assert (matches >= 0).any()
    for image, anchor in (matches >= 0).nonzero().tolist():
        truth = matches[image, anchor]
        assert targets.labels[image, anchor] == labels[image, truth]
        torch.testing.assert_close(decoded[image, anchor], boxes[image, truth], atol=1e-3, rtol=0)
    unmatched = matches < 0
    assert torch.equal(targets.labels[unmatched], matches[unmatched])
    assert not targets.deltas[unmatched].any()


def test_targets_of_a_batch_without_rows_are_background() -> None:
    targets = assign(tensor([_LEFT]), make_batch(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64)))
    assert targets.labels.tolist() == [[BACKGROUND]] * 2
    assert targets.deltas.tolist() == [[[0.0] * 4]] * 2


def test_a_batch_without_boxes_is_refused_with_the_way_out() -> None:
    batch = make_batch(torch.zeros(1, 0, 4), torch.zeros(1, 0))._replace(boxes=None)
    with pytest.raises(ValueError, match="data set with boxes"):
        assign(tensor([_LEFT]), batch)


def test_matching_compiles_into_one_graph() -> None:
    anchors = default_boxes([(4, 4), (2, 2)], (64, 64), scales=(0.3, 0.7))
    boxes, labels = random_truth(seed=2)
    compiled = torch.compile(match, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(anchors, boxes, labels), match(anchors, boxes, labels))


def test_matching_reads_no_value_back_to_the_host() -> None:
    boxes = torch.zeros(2, 5, 4, device="meta")
    labels = torch.zeros(2, 5, dtype=torch.int64, device="meta")
    assert match(torch.zeros(7, 4, device="meta"), boxes, labels).shape == (
        2,
        7,
    )  # meta tensors have no values


def test_recall_counts_boxes_that_can_have_a_fitting_anchor_of_their_own() -> None:
    anchors = tensor([_LEFT, _RIGHT])
    assert anchor_recall(anchors, tensor([_LEFT, _RIGHT])) == 1.0
    assert anchor_recall(anchors, tensor([_LEFT, [0.0, 0.0, 2.0, 2.0]])) == 0.5  # the second fits badly
    assert anchor_recall(anchors, tensor([_LEFT, _LEFT, _LEFT, _RIGHT])) == 0.5  # three want the same anchor
    assert anchor_recall(anchors, torch.zeros(0, 4)) == 1.0


def test_recall_moves_a_box_to_another_anchor_to_make_room() -> None:
    nearly_left = [0.0, 0.0, 10.0, 8.0]
    taller = [0.0, 0.0, 10.0, 6.0]
    anchors = tensor([nearly_left, taller])
    fits_only_first = [0.0, 0.0, 10.0, 13.0]
    # The first box could have either and takes the first, which is all that the second can have.
    assert anchor_recall(anchors, tensor([nearly_left, fits_only_first])) == 1.0
