"""Thresholds as a model keeps them: a number for each class, and nothing of a file is believed unseen."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mnv2dense.types import Detections, JointResult, Thresholds
from mnv2dense.types.thresholds import kept, read_kept

NAMES = ("cat", "dog", "cow")


def test_a_class_without_a_threshold_of_its_own_goes_by_the_one_for_all() -> None:
    assert Thresholds(0.5, {"dog": 0.3}).of(NAMES) == (0.5, 0.3, 0.5)


@pytest.mark.parametrize("heads", [{"": NAMES}, {"boxes": NAMES, "cars": ("bus",)}])
def test_what_is_kept_is_read_back(heads: dict[str, tuple[str, ...]]) -> None:
    given = {name: Thresholds(0.5, {names[0]: 0.25}, "a promise") for name, names in heads.items()}
    assert read_kept(kept(given), heads) == given
    assert read_kept(None, heads) == read_kept({}, heads) == {}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"overall": 1.5}, "overall=1.5 is no score, from 0 to 1"),
        ({"overall": float("nan")}, "overall=nan is no score"),
        ({"overall": True}, "overall=True is no score"),
        ({"classes": {"cat": 0.5}}, "overall=None is no score"),
        ({"overall": 0.5, "classes": {"bird": 0.5}}, "'bird' is none of the model's classes"),
        ({"overall": 0.5, "classes": {"cat": "0.5"}}, "cat='0.5' is no score"),
        ({"overall": 0.5, "classes": [0.5]}, "overall, classes and chosen_for are needed"),
        (3, "overall=None is no score"),
    ],
)
def test_what_cannot_be_thresholds_is_refused(config: Any, expected: str) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=expected):
        read_kept(config, {"": NAMES})


def test_thresholds_of_a_head_that_is_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the model's heads for boxes \(boxes\)"):
        read_kept({"cars": {"overall": 0.5}}, {"boxes": NAMES})
    with pytest.raises(ValueError, match=r"the model's heads for boxes \(it has none\)"):
        read_kept({"overall": 0.5}, {})


def test_boxes_are_left_out_by_their_class_as_float32() -> None:
    scores = torch.tensor([0.9, 0.7, 0.7, 0.3])
    found = Detections(torch.zeros(4, 4), scores, torch.tensor([0, 0, 1, 2]), NAMES)
    assert float(scores[1]) < 0.7  # and yet it is what was meant
    assert found.above((0.8, 0.7, 0.2)).scores.tolist() == scores[[0, 2, 3]].tolist()
    joint = JointResult({"boxes": found, "cars": found}).above({"boxes": (1.0, 0.7, 1.0), "cars": (0.0, 0.0, 0.0)})
    assert [len(joint["boxes"]), len(joint["cars"])] == [1, 4]


def test_a_class_that_is_called_overall_hides_no_missing_threshold_of_all() -> None:
    with pytest.raises(ValueError, match="overall=None is no score"):
        read_kept({"classes": {"overall": 0.5}}, {"": ("overall", "cat")})
