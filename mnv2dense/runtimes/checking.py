"""An exported file checked by the exam that it carries: equal, or what differs and the likely cause."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mnv2dense.runtimes.exam import Answers, Exam, input_means, read_boxes
from mnv2dense.runtimes.exam_answers import (
    Answered,
    boxes_key,
    boxes_of,
    label_outputs,
    numeric_outputs,
    prepared,
    selecting_heads,
)
from mnv2dense.runtimes.exam_distances import distances, less_rounding
from mnv2dense.runtimes.exam_inputs import exam_of
from mnv2dense.runtimes.exam_report import ExamReport
from mnv2dense.runtimes.exported_model import ExportedModel
from mnv2dense.runtimes.formats import FORMATS, format_of
from mnv2dense.runtimes.metadata import Metadata
from mnv2dense.runtimes.stored_constants import checksums

# A fault is named where the answers are at least so much nearer to its answers than to the right ones.
_NEARER = 0.6

# Faults that are no farther from each other than this are named together.
_ALIKE = 0.01

# Means of parts of a prepared input may differ by so much: other ways to round a resize.
_INPUT_ROOM = 2.0


def check_file(path: str | Path, *, threads: int | None = None) -> ExamReport:
    """Run the exam that an exported file carries, in the file's own runtime on this machine.

    ``mnv2dense.check_file("detector.onnx").lines()`` is the verdict in words.

    Args:
        path: .onnx, .xml (with its .bin beside it), .pte or .tflite (with their .json), or .ncnn.param (with both).
        threads: of the runtime; None takes what it takes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of ours, a damaged one, or one that carries no exam; or one of a format that runs
            elsewhere.
        ImportError: its runtime is not installed.
    """
    path = Path(path)
    name = format_of(path)
    if name is not None and not FORMATS[name].runs_here and path.exists():
        raise ValueError(
            f"{path}: such files run on Apple's systems alone, so their exam can be taken only there; its pictures and "
            "answers stand in the package's metadata (docs/exams.md)."
        )
    model = ExportedModel(path, threads=threads)
    said, exam = model.description, exam_of(model)
    notes = list[str]()
    try:
        right = _right(exam, said)
        found = _found(model, exam, notes)
    except ValueError as error:
        broken = _constants(path, exam, notes)[0]
        also = f", and {broken[0]} is not as written" if broken else ""
        raise ValueError(f"{path}: {error}{also}; export it again.") from error
    labels = label_outputs(said)
    compared = [_Compared(found, right, exam.limits)]
    if owns := [picture.own for picture in exam.pictures if exam.own_limits and picture.own]:
        rows = zip(found, owns, right, strict=True)
        compared.append(
            _Compared(
                [less_rounding(each, own=own, right=theirs, labels=labels) for each, own, theirs in rows],
                [Answers(each.values, own.boxes) for each, own in zip(right, owns, strict=True)],
                exam.own_limits,
            )
        )
    limits, far = compared[-1].limits, compared[-1].distances(compared[-1].right, exam, labels)
    changed, missing, stored = _constants(path, exam, notes)
    causes, nearness = list[str](), 1.0
    if any(not far[each] <= limits[each] for each in far):
        # A gross fault changes what rounding does, so answers as they are tell it; a small one is told without that.
        named = (_nearest(each, exam, labels) for each in compared)
        causes, nearness = next((each for each in named if each[0]), (causes, nearness))
    return ExamReport(
        file=path,
        runtime=model.runtime,
        distances=far,
        limits=limits,
        is_own=bool(owns),
        cause=causes[0] if causes else None,
        also=tuple(causes[1:]),
        nearness=nearness,
        changed=changed,
        missing=missing,
        stored=stored,
        pictures=len(exam.pictures),
        notes=tuple(notes),
    )


def _right(exam: Exam, said: Metadata) -> list[Answers]:
    """The model's answers to each picture.

    Raises:
        ValueError: they are not of this file's outputs.
    """
    heads = {boxes_key(head): head for head in selecting_heads(said)}
    unknown = exam.at.keys() - numeric_outputs(said).keys()
    lacking = heads.keys() - (exam.own_limits or exam.limits).keys()
    if unknown or lacking or not (exam.at or heads):
        others = ", ".join(sorted(unknown | lacking)) or "none"
        raise ValueError(f"its exam is of other outputs than the file's ({others})")
    try:
        return [
            Answers(each.answers, {key: read_boxes(boxes_of(each.results, head)) for key, head in heads.items()})
            for each in exam.pictures
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"its exam has results that are no boxes ({type(error).__name__}: {error})") from error


def _found(model: ExportedModel, exam: Exam, notes: list[str]) -> list[Answers]:
    """What the file answers to each picture here.

    Raises:
        ValueError: a picture is none, or a place is beyond an output.
    """
    said, answers = model.description, []
    for number, picture in enumerate(exam.pictures):
        image, back = prepared(picture.png, model.size, model.resize)
        if (off := float(np.abs(input_means(image[0].numpy()) - picture.input).max())) > _INPUT_ROOM:
            notes.append(f"Picture {number} is prepared otherwise here than at export (a mean is off by {off:.1f}).")
        answered = Answered(model.run(image), said, said.outputs, model.selection, back, model.size)
        answers.append(answered.answers(exam.at, 0.0))
    return answers


class _Compared(NamedTuple):
    """Answers, those that are right, and how far apart they may be; all of each picture."""

    found: Sequence[Answers]
    right: Sequence[Answers]
    limits: Mapping[str, float]

    def distances(self, others: Sequence[Answers], exam: Exam, labels: AbstractSet[str]) -> dict[str, float]:
        """Output -> how far ``found`` is from others."""
        return distances(self.found, others, self.right, labels=labels, threshold=exam.score_threshold)


def _nearest(compared: _Compared, exam: Exam, labels: AbstractSet[str]) -> tuple[list[str], float]:
    """Faults whose answers are nearest, where they are clearly nearer than the right ones; and how near."""
    own = _together(compared.distances(compared.right, exam, labels), compared.limits)
    shares = {
        fault: _together(
            compared.distances([picture.otherwise[fault] for picture in exam.pictures], exam, labels), compared.limits
        )
        / max(own, 1e-12)
        for fault in exam.faults
    }
    found = sorted((fault for fault, share in shares.items() if share < _NEARER), key=lambda fault: shares[fault])
    best = shares[found[0]] if found else 1.0
    return [fault for fault in found if shares[fault] <= 1.1 * best + _ALIKE], best


def _together(distances: Mapping[str, float], limits: Mapping[str, float]) -> float:
    """Of all outputs, each by its limit: one that is rounded coarsely tells little."""
    return math.sqrt(sum((each / max(limits[name], 1e-6)) ** 2 for name, each in distances.items()))


def _constants(path: Path, exam: Exam, notes: list[str]) -> tuple[tuple[str, ...], int, int]:
    """Those that are not as written, how many are gone, and how many were looked for."""
    if not exam.weights:
        return (), 0, 0
    try:
        found = checksums(path)
    except ImportError as error:
        notes.append(f"Stored constants are not looked at: {error}.")
        return (), 0, 0
    changed = tuple(name for name, crc in exam.weights.items() if name in found and found[name] != crc)
    missing = sum(name not in found for name in exam.weights)
    if missing:
        notes.append(f"{missing} of {len(exam.weights)} stored constants are gone: the file was written anew since.")
    return changed, missing, len(exam.weights)
