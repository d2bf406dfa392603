"""What an exam says is believed only as far as it can be; and its distances, by hand."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mnv2dense.runtimes.exam import Answers, Exam, input_means
from mnv2dense.runtimes.exam_distances import (
    box_distance,
    distance,
    label_distance,
    less_rounding,
    spread_of,
    values_at,
)
from mnv2dense.runtimes.exam_inputs import decoded
from mnv2dense.runtimes.exam_report import ExamReport
from mnv2dense.runtimes.metadata import Metadata
from tests.runtimes.test_metadata import described

Change = Callable[[dict[str, Any]], object]


def picture(side: int = 20) -> str:
    file = io.BytesIO()
    Image.new("RGB", (side, 12), (200, 100, 0)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def said() -> dict[str, Any]:
    """An exam of one picture and two places."""
    box = {"label": 1, "score": 0.9, "box": [1, 2, 8, 9]}
    return {
        "format": 1,
        "pictures": [
            {
                "png": picture(),
                "input": np.zeros((3, 8, 8)).tolist(),
                "answers": {"boxes": [1.5], "scores": [0.5, 0.25]},
                "otherwise": {"channels swapped": {"boxes": [2.5], "scores": [0.5, 0.75]}},
                "results": [box],
            }
        ],
        "score_threshold": 0.3,
        "at": {"boxes": [3], "scores": [0, 7]},
        "limits": {"boxes": 0.01, "scores": 0.01},
        "weights": {"stem": 12345},
    }


def test_an_exam_comes_back_as_it_was_written() -> None:
    made = Metadata.from_json(json.dumps(described() | {"exam": said()}))
    exam = made.make_exam()
    assert exam is not None
    assert exam.faults == ["channels swapped"]
    assert exam.pictures[0].otherwise["channels swapped"].values["scores"].tolist() == [0.5, 0.75]
    assert exam.at["scores"].tolist() == [0, 7]
    assert decoded(exam.pictures[0].png).shape == (12, 20, 3)
    assert Metadata.from_json(made.to_json()) == made
    assert "exam" not in Metadata.from_json(json.dumps(described())).to_json()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda exam: exam.update(format=0), "of format 0, and this version reads 1"),
        (lambda exam: exam.update(pictures=[]), "no list of 1 to 16 pictures"),
        (lambda exam: exam.update(pictures=[said()["pictures"][0]] * 17), "no list of 1 to 16 pictures"),
        (lambda exam: exam.update(score_threshold="high"), "score_threshold=high, and not a share"),
        (lambda exam: exam["at"].update(scores=[-1, 7]), "a place below 0"),
        (lambda exam: exam["at"].update(scores=list(range(5000))), "no list of 1 to 4096"),
        (lambda exam: exam["at"].update(scores=[]), "no list of 1 to 4096"),
        (lambda exam: exam["at"].update(scores=[0.5, 7]), "whole numbers"),
        (lambda exam: exam["limits"].pop("scores"), "not a limit of 0 or more for each output"),
        (lambda exam: exam.update(own_limits={"scores": 0.1}), "not a limit of 0 or more for each output"),
        (lambda exam: exam.update(own_limits=exam["limits"]), "own_limits, and a picture without own answers"),
        (lambda exam: exam["weights"].update(stem=2**32), "weights without a crc32"),
        (lambda exam: exam["pictures"][0].update(png="no base64!"), "no base64"),
        (lambda exam: exam["pictures"][0].update(png="x" * 1_000_001), "no text of at most 1,000,000"),
        (lambda exam: exam["pictures"][0].update(input=[1, 2]), "input that are not 192 numbers"),
        (lambda exam: exam["pictures"][0]["answers"].update(scores=[1]), "scores that are not 2 numbers"),
        (lambda exam: exam["pictures"][0]["answers"].update(scores=[1, float("nan")]), "scores that are not 2 num"),
        (lambda exam: exam["pictures"][0]["otherwise"].update(other={}), "incomplete or off"),
        (lambda exam: exam["pictures"][0].pop("results"), "incomplete or off .*results"),
        (
            lambda exam: exam["pictures"][0]["results"][0].update(box=[1, 2]),
            "without label, score of 0..1 and four sides",
        ),
        (lambda exam: exam["pictures"][0]["results"][0].update(score=float("inf")), "without label, score of 0..1"),
        (lambda exam: exam["pictures"].append(said()["pictures"][0] | {"otherwise": {}}), "of different faults"),
    ],
)
def test_a_strangers_exam_that_cannot_be_is_refused(change: Change, expected: str) -> None:
    exam = said()
    change(exam)
    with pytest.raises(ValueError, match=expected):
        Metadata.from_json(json.dumps(described() | {"exam": exam}))


def test_a_picture_that_is_none_or_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="is no PNG"):
        decoded(b"GIF89a")
    with pytest.raises(ValueError, match="a picture of its exam: 90000x12 is 1 megapixels, more than the 1 allowed"):
        decoded(base64.b64decode(picture(90_000)))
    with pytest.raises(ValueError, match="a picture of its exam: damaged or truncated"):
        decoded(base64.b64decode(picture())[:45])
    with pytest.raises(ValueError, match="looks at place 9 of 4 values"):
        values_at(np.zeros(4), np.array([9]))


def test_a_distance_is_a_share_of_the_spread_of_the_right_answers() -> None:
    answers = [np.array([0.0, 2.0]), np.array([0.0, 2.0])]  # about their mean 1: four squares of 1
    assert spread_of(answers) == 2
    assert distance([np.array([0.0, 3.0]), np.array([0.0, 2.0])], answers, 2.0) == 0.5
    assert spread_of([np.ones(3)]) == 1
    assert label_distance([np.array([0.0, 1.0]), np.array([2.0, 2.0])], answers) == 0.5  # two of four


def test_the_files_own_rounding_is_taken_off_before_answers_are_compared() -> None:
    right, own = (
        Answers({"scores": np.array(scores), "labels": np.array(labels)}, {})
        for scores, labels in (([1.0, 2.0], [3.0, 4.0]), ([1.5, 2.0], [3.0, 5.0]))
    )
    found = Answers({"scores": np.array([1.5, 2.25]), "labels": np.array([7.0, 5.0])}, {})
    made = less_rounding(found, own=own, right=right, labels={"labels"})
    assert made.values["scores"].tolist() == [1.0, 2.25]
    assert made.values["labels"].tolist() == [7.0, 4.0]


def test_boxes_count_by_how_far_they_are_above_the_threshold() -> None:
    here = {"label": 0, "score": 0.8, "box": [0, 0, 10, 10]}
    assert box_distance([here], [here], 0.3) == pytest.approx((0, 1.0))
    lower = here | {"score": 0.7}
    assert box_distance([here], [lower], 0.3) == pytest.approx((0.1, 0.9))
    other = here | {"label": 1}
    assert box_distance([here], [other], 0.3) == pytest.approx((1.0, 1.0))
    narrower = here | {"box": [0, 0, 10, 8]}  # IoU 0.8: a fifth of 0.5
    assert box_distance([here], [narrower], 0.3)[0] == pytest.approx(0.1)
    faint = here | {"score": 0.3}
    assert box_distance([], [faint], 0.3) == (0, 0)


def test_means_are_of_eight_equal_parts_along_each_side() -> None:
    image = np.zeros((3, 16, 24), np.uint8)
    image[1, 2:4, 3:6] = 90  # the second part of each
    means = input_means(image)
    assert means[1, 1, 1] == 90
    assert means.sum() == 90


def report(**changed: Any) -> ExamReport:  # noqa: ANN401 - any of its attributes
    usual: dict[str, Any] = {
        "file": Path("a.onnx"),
        "runtime": "onnx",
        "distances": {"boxes": 0.001, "scores": 0.002},
        "limits": {"boxes": 0.01, "scores": 0.01},
        "pictures": 3,
        "stored": 20,
    }
    return ExamReport(**usual | changed)


def test_a_verdict_says_what_differs_the_cause_and_the_next_step() -> None:
    assert report().equal
    assert report().lines()[0] == (
        "equal: a.onnx answers its 3 pictures as the model did (off by at most 0.2% in scores, allowed 1%), and 20 "
        "stored constants are as written"
    )
    far = {"boxes": 0.5, "scores": float("nan")}
    what, cause, step = report(distances=far).lines()
    assert what.startswith("differs: boxes (and scores) of a.onnx") or what.startswith("differs: scores (and boxes)")
    assert cause == (
        "likely cause: none of the known ones; all weights are as written, so the runtime or what prepares images "
        "differs"
    )
    assert step == "next: mnv2dense-check a.onnx checkpoint=RUN finds the first layer that differs."
    _, cause, step = report(distances=far, cause="channels swapped").lines()
    assert cause == "likely cause: channels swapped: red and blue are swapped (BGR where RGB belongs)"
    assert step == "next: Give RGB; OpenCV reads BGR, so convert."
    own = report(distances={"boxes": 0.5, "scores": 0.0}, is_own=True)
    assert own.lines()[0] == (
        "differs: boxes of a.onnx, by 50% of the model's spread from what it answered when it was written, allowed 1%"
    )
    assert report(is_own=True).lines()[0].startswith("equal: a.onnx answers its 3 pictures as it did when it was writ")
    assert report(distances=far, cause="of a later version").lines()[1].endswith("see docs/exams.md")
    flipped = report(changed=("stem", "head"))
    assert not flipped.equal
    assert flipped.lines()[0] == "differs: stem, head in a.onnx are not as written; answers are within limits"
    many = tuple(map(str, range(15)))
    assert "the weights are others" in report(distances=far, changed=many).lines()[1]
    found = report(distances=far, looked_at_layers=True, layer="backbone.stem").lines()[1]
    assert found.endswith("backbone.stem is the first layer that answers otherwise")
    assert "this file alone" in report(distances=far, looked_at_layers=True).lines()[1]


def test_an_exam_is_read_whatever_later_versions_add() -> None:
    assert Exam.read(said() | {"weather": "fine"}).score_threshold == 0.3


def test_a_later_versions_exam_does_not_keep_its_file_from_running() -> None:
    made = Metadata.from_json(json.dumps(described() | {"exam": {"format": 2, "questions": []}}))
    with pytest.raises(ValueError, match="its exam is of format 2, and this version reads 1"):
        made.make_exam()
