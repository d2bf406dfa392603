"""The exam that an exported file carries: a few small pictures, and what the model answered when the file was made."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from mnv2dense.utils.numbers import is_number, is_whole

if TYPE_CHECKING:
    from mnv2dense.types import JointResult
    from mnv2dense.types.results import Classification, Detections, Segmentation

FORMAT = 1

GRID = 8
"""Parts of the input along each side whose means tell whether a picture was prepared rightly."""

LABEL_GRID = 16
"""Pixels along each side at which a label map is looked at."""

LONGEST_SIDE = 160
"""Of a picture, pixels."""

BOXES = "results"
"""Stands for boxes that are selected inside the file, which have no places of their own."""

# What a stranger's file may have at most.
_PICTURES, _PLACES, _FAULTS, _WEIGHTS, _BOXES, _BYTES = 16, 4096, 64, 20_000, 1000, 1_000_000

Values = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


class Answers(NamedTuple):
    """To one picture.

    Attributes:
        values: output -> values at the exam's places, float64 [P].
        boxes: of heads whose boxes are selected inside the file, "results" or "HEAD_results" -> these.
    """

    values: Mapping[str, Values]
    boxes: Mapping[str, list[dict[str, Any]]]


@final
@dataclass(frozen=True)
class ExamPicture:
    """One picture with its answers.

    Attributes:
        png: the file's bytes.
        input: means of 8 x 8 equal parts of the prepared input by channel, [3, 8, 8], 0..255.
        answers: output -> the model's values at the exam's places, float64 [P].
        otherwise: fault -> what the answers would be with it.
        results: what a user sees: boxes, classes or a grid of labels; of several heads those of each.
        own: what the file itself answered when it was written, where its rounding is coarse.
    """

    png: bytes
    input: Values
    answers: Mapping[str, Values]
    otherwise: Mapping[str, Answers]
    results: Any
    own: Answers | None = None


@final
@dataclass(frozen=True)
class Exam:
    """All of it; :meth:`read` makes it of what a file says.

    Attributes:
        pictures: with their answers.
        score_threshold: from which on boxes count.
        at: output -> flat indexes into one image's tensor.
        limits: output -> largest distance to the model's answers that is right.
        weights: name of a stored constant -> crc32 of its bytes.
        own_limits: output -> largest distance to the file's own answers that is right; empty where it keeps none.
    """

    pictures: tuple[ExamPicture, ...]
    score_threshold: float
    at: Mapping[str, Places]
    limits: Mapping[str, float]
    weights: Mapping[str, int]
    own_limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def faults(self) -> list[str]:
        """Those whose answers are known."""
        return list(self.pictures[0].otherwise)

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Exam:
        """What a description has under ``exam``; a file may come from anybody.

        Raises:
            ValueError: a value cannot be; which.
        """
        try:
            return cls._read(said)
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"its exam is incomplete or off ({type(error).__name__}: {error})") from error

    @classmethod
    def _read(cls, said: Mapping[str, Any]) -> Exam:
        if said["format"] != FORMAT:
            raise ValueError(f"its exam is of format {str(said['format'])[:40]}, and this version reads {FORMAT}")
        at = {name: _places(places) for name, places in _few(said["at"], 256, "at").items()}
        pictures = said["pictures"]
        if not isinstance(pictures, list) or not 1 <= len(pictures) <= _PICTURES:
            raise ValueError(f"its exam has no list of 1 to {_PICTURES} pictures")
        weights = _few(said.get("weights", {}), _WEIGHTS, "weights")
        if not all(is_whole(crc) and 0 <= crc < 2**32 for crc in weights.values()):
            raise ValueError("its exam has weights without a crc32 each")
        limits, own_limits = _limits(said["limits"], at), {}
        if "own_limits" in said:
            own_limits = _limits(said["own_limits"], at)
            if not all("own" in each for each in pictures):
                raise ValueError("its exam has own_limits, and a picture without own answers")
        threshold = said["score_threshold"]
        if not is_number(threshold) or not 0 <= threshold < 1:
            raise ValueError(f"its exam has score_threshold={str(threshold)[:40]}, and not a share")
        read = tuple(_picture(each, at) for each in pictures)
        if any(each.otherwise.keys() != read[0].otherwise.keys() for each in read):
            raise ValueError("its exam has pictures that tell of different faults")
        return cls(
            read,
            float(threshold),
            at,
            limits,
            dict(weights),
            own_limits,
        )


def _few(found: Any, most: int, name: str) -> dict[str, Any]:  # noqa: ANN401 - whatever json holds
    if not isinstance(found, dict) or len(found) > most:
        raise ValueError(f"its exam has {name} that are no table of at most {most}")
    return found


def _limits(said: Any, at: Mapping[str, Places]) -> dict[str, float]:  # noqa: ANN401 - whatever a file says
    limits = _few(said, 256, "limits")
    if not all(is_number(limit) and limit >= 0 for limit in limits.values()) or at.keys() - limits:
        raise ValueError("its exam has not a limit of 0 or more for each output")
    return {name: float(limit) for name, limit in limits.items()}


def _places(places: Any) -> Places:  # noqa: ANN401 - whatever a file says
    if not isinstance(places, list) or not 1 <= len(places) <= _PLACES or not all(map(is_whole, places)):
        raise ValueError(f"its exam has places that are no list of 1 to {_PLACES} whole numbers")
    if any(not 0 <= place < 2**40 for place in places):
        raise ValueError("its exam has a place below 0 or beyond any tensor")
    return np.array(places, np.int64)


def _picture(said: Mapping[str, Any], at: Mapping[str, Places]) -> ExamPicture:
    text = said["png"]
    if not isinstance(text, str) or len(text) > _BYTES:
        raise ValueError(f"its exam has a picture that is no text of at most {_BYTES:,} signs")
    try:
        png = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"its exam has a picture that is no base64 ({error})") from error
    means = _numbers(said["input"], 3 * GRID * GRID, "input").reshape(3, GRID, GRID)
    otherwise = _few(said.get("otherwise", {}), _FAULTS, "otherwise")
    results = said["results"]
    _check_results(results)
    return ExamPicture(
        png=png,
        input=means,
        answers=_answers(said["answers"], at).values,
        otherwise={fault: _answers(found, at) for fault, found in otherwise.items()},
        results=results,
        own=_answers(said["own"], at) if "own" in said else None,
    )


def _answers(said: Any, at: Mapping[str, Places]) -> Answers:  # noqa: ANN401 - whatever a file says
    found = _few(said, 512, "answers")
    return Answers(
        {name: _numbers(found[name], len(places), name) for name, places in at.items()},
        {key: read_boxes(value) for key, value in found.items() if key not in at and key.endswith(BOXES)},
    )


def _numbers(values: Any, count: int, name: str) -> Values:  # noqa: ANN401 - whatever a file says
    try:
        made = np.array(values, np.float64).reshape(-1)
    except ValueError:
        made = np.zeros(0)
    if len(made) != count or not np.isfinite(made).all():
        raise ValueError(f"its exam has {name[:40]} that are not {count} numbers")
    return made


def _check_results(results: Any) -> None:  # noqa: ANN401 - whatever a file says
    """Of boxes; other results are for people, and shown as they are."""
    heads = _few(results, 64, "results").values() if isinstance(results, dict) and "grid" not in results else [results]
    for each in heads:
        if isinstance(each, list) and each and "box" in each[0]:
            read_boxes(each)


def read_boxes(found: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - whatever a file says
    """Those that a file says.

    Raises:
        ValueError: they cannot be.
        TypeError, KeyError: likewise.
    """
    if not isinstance(found, list) or len(found) > _BOXES:
        raise ValueError(f"its exam has boxes that are no list of at most {_BOXES}")
    for each in found:
        score = each["score"]
        if not (is_whole(each["label"]) and is_number(score) and 0 <= score <= 1 and len(each["box"]) == 4):
            raise ValueError("its exam has a box without label, score of 0..1 and four sides")
        _numbers(each["box"], 4, "box")
    return found


def input_means(image: npt.NDArray[np.uint8]) -> Values:
    """uint8 [3, H, W] -> means of 8 x 8 equal parts by channel, [3, 8, 8]."""
    rows, columns = ([side * part // GRID for part in range(GRID + 1)] for side in image.shape[1:])
    sums = image.astype(np.float64)
    return np.stack(
        [
            np.stack(
                [
                    sums[:, rows[row] : rows[row + 1], columns[column] : columns[column + 1]].mean((1, 2))
                    for column in range(GRID)
                ],
                axis=-1,
            )
            for row in range(GRID)
        ],
        axis=1,
    )


def plain_result(result: Detections | Classification | Segmentation | JointResult, *, threshold: float) -> Any:  # noqa: ANN401 - plain JSON of any task
    """What a user sees of a result, as json takes it."""
    from mnv2dense.types import JointResult
    from mnv2dense.types.results import Classification, Detections

    if isinstance(result, JointResult):
        return {name: plain_result(result[name], threshold=threshold) for name in result}
    if isinstance(result, Detections):
        return [
            {"label": box.label, "score": round(box.score, 4), "box": [round(side, 1) for side in box.xyxy]}
            for box in result.above(threshold)
        ]
    if isinstance(result, Classification):
        return [{"label": one.label, "score": round(one.score, 4)} for one in result.top(3)]
    height, width = result.labels.shape
    rows = [int((part + 0.5) * height / LABEL_GRID) for part in range(LABEL_GRID)]
    columns = [int((part + 0.5) * width / LABEL_GRID) for part in range(LABEL_GRID)]
    return {"grid": result.labels[rows][:, columns].tolist()}
