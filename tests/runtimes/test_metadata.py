"""What a file says of itself is believed only as far as it can be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mnv2dense.runtimes.metadata import Metadata


def described(task: str = "detection") -> dict[str, Any]:
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "detection": ("boxes", {"score_threshold": 0.01, "nms_threshold": 0.6, "candidates": 1000, "limit": 100}),
        "segmentation": ("logits", {"palette": [[0, 0, 0], [255, 0, 0]], "align_corners": True}),
        "classification": ("scores", {}),
    }
    outputs, selection = kinds[task]
    made = Metadata(
        task=task,
        outputs=outputs,
        precision="fp32",
        size=(64, 96),
        resize="squash",
        class_names=("a", "b"),
        category_ids=(1, 2),
        selection=selection,
    )
    assert Metadata.from_json(made.to_json()) == made
    found: dict[str, Any] = json.loads(made.to_json())
    return found


@pytest.mark.parametrize(
    ("task", "change", "expected"),
    [
        ("detection", {"size": [64.5, 96]}, r"size=\[64\.5, 96\], and not a height and a width in pixels"),
        ("detection", {"size": [64]}, "not a height and a width"),
        ("detection", {"size": [0, 96]}, "not a height and a width"),
        ("detection", {"size": [64, 10**9]}, "not a height and a width"),
        ("detection", {"size": "64"}, "not a height and a width"),
        ("detection", {"task": "poetry"}, "task='poetry', and not one of detection, segmentation, classification"),
        ("detection", {"task": ["detection"]}, "and not one of detection"),
        ("detection", {"outputs": "logits"}, "outputs='logits', which no model for detection gives"),
        ("detection", {"resize": "stretch"}, "resize='stretch'.* which this version does not know"),
        ("detection", {"class_names": "ab"}, "class_names='ab', and not a list of names"),
        ("detection", {"class_names": [1, 2]}, "not a list of names"),
        ("detection", {"class_names": []}, "not a list of names"),
        ("detection", {"class_names": ["x" * 100, 3]}, r"x{20,}\.\.\., and not a list of names"),
        ("detection", {"category_ids": [1, True]}, "not a list of whole numbers"),
        ("detection", {"category_ids": [2**64, 2]}, "not a list of whole numbers of 64 bits"),
        ("detection", {"category_ids": [1]}, "another number of category_ids than of class_names"),
        ("detection", {"selection": 3}, "selection=3, and not options by name"),
        ("detection", {"license": None}, "license=None, and not a text"),
        ("detection", {"versions": {"torch": 2}}, "not versions by name"),
        ("detection", {"format": 2}, "not of format 1"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name(task: str, change: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Metadata.from_json(json.dumps(described(task) | change))


@pytest.mark.parametrize(
    ("task", "change", "expected"),
    [
        ("detection", {"score_threshold": 30}, "score_threshold=30, which cannot be"),
        ("detection", {"nms_threshold": "high"}, "nms_threshold='high', which cannot be"),
        ("detection", {"limit": 0}, "limit=0, which cannot be"),
        ("detection", {"candidates": 1e9}, "candidates=1000000000.0, which cannot be"),
        ("detection", {"unheard_of": 1}, "incomplete or off .*unheard_of"),
        ("segmentation", {"align_corners": 1}, "align_corners=1, which cannot be"),
        ("segmentation", {"palette": [[0, 0, 0]]}, r"palette=\[\[0, 0, 0\]\], which cannot be"),
        ("segmentation", {"palette": [[0, 0, 0], [0, 0, 256]]}, "palette=.* which cannot be"),
        ("segmentation", {"palette": [[0, 0], [0, 0]]}, "incomplete or off"),
    ],
)
def test_a_selection_that_cannot_be_is_refused(task: str, change: dict[str, Any], expected: str) -> None:
    found = described(task)
    found["selection"] |= change
    with pytest.raises(ValueError, match=expected):
        Metadata.from_json(json.dumps(found))


def test_keys_of_a_later_version_are_passed_over() -> None:
    assert Metadata.from_json(json.dumps(described() | {"weather": "fine"})).task == "detection"


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ('"extra": ' + "[" * 100_000, "nested too deep"),
        ('"size": [' + "9" * 5000 + ", 64]", "no json .*4300 digits"),
    ],
)
def test_a_description_that_no_reader_can_take_is_refused(added: str, expected: str) -> None:
    with pytest.raises(ValueError, match=f"its description is {expected}"):
        Metadata.from_json(json.dumps(described())[:-1] + f", {added}}}")
