"""Results by their parts: indexed, cut, gone through, merged, and refused where their lengths do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mnv2dense.types import Box, Classification, Detections, Region, ScoredClass, Segmentation

NAMES = ("cat", "dog", "cow")


def boxes(*scores: float, names: tuple[str, ...] = NAMES) -> Detections:
    """Box k is k pixels from the left and 10 wide and high, of class k % 3."""
    left = torch.arange(len(scores), dtype=torch.float32)[:, None]
    place = torch.cat((left, torch.zeros_like(left), left + 10, torch.full_like(left, 10)), dim=1)
    return Detections(place, torch.tensor(scores), torch.arange(len(scores)) % 3, names)


def classes() -> Classification:
    return Classification(torch.tensor([0.5, 0.25, 0.125]), torch.tensor([2, 0, 1]), NAMES)


def test_a_box_has_a_name_a_score_and_a_place_in_plain_numbers() -> None:
    first, second = boxes(0.75, 0.5)
    assert first == Box(name="cat", score=0.75, label=0, xyxy=(0.0, 0.0, 10.0, 10.0))
    assert (second.name, second.score, second.xyxy) == ("dog", 0.5, (1.0, 0.0, 11.0, 10.0))
    assert [type(value) for value in (first.score, first.label, *first.xyxy)] == [float, int, *4 * [float]]


def test_a_whole_number_gives_one_and_counts_from_the_end_as_lists_do() -> None:
    found = boxes(0.75, 0.5, 0.25)
    assert [found[k] for k in range(3)] == list(found) == [found[np.int64(k - 3)] for k in range(3)]
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"index {index}: there are 3 here"):
            found[index]
    with pytest.raises(IndexError, match="index 0: there are 0 here"):
        boxes()[0]


@pytest.mark.parametrize(
    ("index", "kept"),
    [
        (slice(2), [0, 1]),
        (slice(None, None, -1), [2, 1, 0]),
        (slice(5, 9), []),
        (torch.tensor([True, False, True]), [0, 2]),
        (np.array([False, True, False]), [1]),
        ([False, False, True], [2]),
        (torch.tensor([2, 0]), [2, 0]),
        (torch.tensor([2, 0], dtype=torch.uint8), [2, 0]),  # which torch itself takes for a mask
        ([-1, 1, 1], [2, 1, 1]),
        ([], []),
    ],
)
@pytest.mark.parametrize("whole", [boxes(0.75, 0.5, 0.25), classes()])
def test_some_of_a_result_are_a_result_in_the_order_asked_for(whole: Any, index: Any, kept: list[int]) -> None:  # noqa: ANN401
    some = whole[index]
    assert type(some) is type(whole)
    assert list(some) == [whole[k] for k in kept]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (torch.tensor([True, False]), "a mask of 2: there are 3 here"),
        ([0, 3], "indices 0 to 3: there are 3 here"),
        ([-4], "indices -4 to -4: there are 3 here"),
        (torch.tensor([0.5, 1.0]), r"an index of torch.float32 \[2\]: give a whole number"),
        (torch.tensor(1), r"an index of torch.int64 \[\]: give a whole number"),
        (torch.ones(3, 1, dtype=torch.bool), r"torch.bool \[3, 1\]"),
        (True, r"torch.bool \[\]"),
    ],
)
def test_an_index_that_means_nothing_here_is_refused(index: Any, message: str) -> None:  # noqa: ANN401
    for whole in (boxes(0.75, 0.5, 0.25), classes()):
        with pytest.raises(IndexError, match=message):
            whole[index]


def test_a_name_is_no_index_and_the_way_to_a_class_is_told() -> None:
    way = r"those of a class are \[one for one in found if one\.name == 'cat'\]"
    for whole in (boxes(0.75, 0.5, 0.25), classes()):
        with pytest.raises(IndexError, match=r"index 'cat': a result takes a whole number, a slice, a mask .*" + way):
            whole["cat"]  # type: ignore[call-overload]
    with pytest.raises(IndexError, match="index 'cat': a result takes a whole number; " + way):
        Segmentation(torch.zeros(2, 2, dtype=torch.uint8), NAMES)["cat"]  # type: ignore[index]


def test_merged_boxes_are_all_there_best_first_and_equal_scores_in_their_order() -> None:
    one, other = boxes(0.75, 0.25), boxes(0.5, 0.25, 0.125)
    both = Detections.merge([one, other])
    assert list(both) == [one[0], other[0], one[1], other[1], other[2]]
    assert list(Detections.merge([one])) == list(one)
    with pytest.raises(ValueError, match="no detections to merge"):
        Detections.merge([])
    with pytest.raises(ValueError, match=r"3 classes \(cat, dog, cow, ...\) cannot be merged with those of 1 \(car"):
        Detections.merge([one, boxes(0.5, names=("car",))])


def test_classes_are_gone_through_likeliest_first() -> None:
    assert list(classes()) == [ScoredClass("cow", 0.5, 2), ScoredClass("cat", 0.25, 0), ScoredClass("dog", 0.125, 1)]
    assert classes()[0].name == "cow"
    assert classes().top(1).names == classes()[:1].names == ["cow"]


def test_masks_are_gone_through_by_the_classes_that_are_there_largest_first() -> None:
    labels = torch.tensor([[2, 2, 2], [0, 0, 2]], dtype=torch.uint8)
    found = Segmentation(labels, NAMES)
    first, second = found
    assert isinstance(first, Region)
    assert (first.name, first.share, first.label) == ("cow", 4 / 6, 2)
    assert first.mask.tolist() == [[True, True, True], [False, False, True]]
    assert (second.name, second.share) == ("cat", 2 / 6)
    assert len(found) == 2
    assert found[-1].name == "cat"
    with pytest.raises(IndexError, match="index 2: there are 2 here"):
        found[2]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            lambda: Detections(torch.zeros(3, 4), torch.zeros(2), torch.zeros(2, dtype=torch.long), NAMES),
            r"boxes are \[3, 4\], scores \[2\] and labels \[2\]: N boxes need \[N, 4\], \[N\] and \[N\]",
        ),
        (
            lambda: Detections(torch.zeros(2, 4), torch.zeros(2, 1), torch.zeros(2, dtype=torch.long), NAMES),
            r"scores \[2, 1\]",
        ),
        (lambda: Detections(torch.zeros(0), torch.zeros(0), torch.zeros(0), NAMES), r"boxes are \[0\]"),
        (lambda: Classification(torch.zeros(3), torch.zeros(2), NAMES), r"scores are \[3\] and labels \[2\]"),
        (lambda: Segmentation(torch.zeros(1, 4, 4), NAMES), r"labels are \[1, 4, 4\]: .* are \[H, W\]"),
    ],
)
def test_parts_of_other_lengths_are_no_result(made: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=message):
        made()
