"""An exported file checked by the exam that it carries: equal, or what differs and the likely cause."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from mnv2dense.runtimes.exam import Exam, ExamPicture, Values, box_distance, input_means, values_at
from mnv2dense.runtimes.exam_answers import (
    Answered,
    boxes_key,
    boxes_of,
    label_outputs,
    prepared,
    selecting_heads,
    values_apart,
)
from mnv2dense.runtimes.exam_causes import CAUSES
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

# Of stored constants so many are named; where more than this share differs, they are other weights, not damaged ones.
_NAMED, _DAMAGED = 3, 0.02


@final
@dataclass(frozen=True)
class ExamReport:
    """What a file's exam came to.

    Attributes:
        file: that was checked.
        runtime: that ran it.
        distances: output -> how far its values are from the model's, as a share of the spread of these.
        limits: output -> the largest distance that is right for the file.
        cause: the fault whose answers are the nearest, a key of
            :data:`mnv2dense.runtimes.exam_causes.CAUSES`; None where none fits, or nothing differs.
        also: other faults whose answers are about as near.
        nearness: of the cause: distance to its answers as a share of that to the right ones; 1 without one.
        changed: names of stored constants that are not as they were written.
        missing: how many stored constants of the exam the file does not have.
        stored: how many the exam has.
        pictures: how many were answered.
        notes: what else there is to say.
        looked_at_layers: whether fresh files of the model's parts were made and run here.
        layer: the first of these that answers otherwise than the model; None where all agree.
    """

    file: Path
    runtime: str
    distances: Mapping[str, float]
    limits: Mapping[str, float]
    cause: str | None = None
    also: tuple[str, ...] = ()
    nearness: float = 1.0
    changed: tuple[str, ...] = ()
    missing: int = 0
    stored: int = 0
    pictures: int = 0
    notes: tuple[str, ...] = ()
    looked_at_layers: bool = False
    layer: str | None = None

    @property
    def differing(self) -> list[str]:
        """Outputs beyond their limits, the worst first."""
        over = {
            name: found / self.limits[name] if self.limits[name] > 0 else math.inf
            for name, found in self.distances.items()
            if not found <= self.limits[name]
        }
        return sorted(over, key=lambda name: -over[name])

    @property
    def equal(self) -> bool:
        """Whether all outputs are within their limits, and all stored constants as they were written."""
        return not self.differing and not self.changed

    def lines(self) -> list[str]:
        """The verdict: what differs, the likely cause, the next step."""
        if self.equal:
            worst = max(self.distances, key=lambda name: self.distances[name] / max(self.limits[name], 1e-12))
            checked = f", and {self.stored - self.missing} stored constants are as written" if self.stored else ""
            return [
                f"equal: {self.file} answers its {self.pictures} pictures as the model did (off by at most "
                f"{_share(self.distances[worst])} in {worst}, allowed {_share(self.limits[worst])}){checked}",
                *self.notes,
            ]
        return [f"differs: {self._what()}", f"likely cause: {self._cause()}", f"next: {self._next()}", *self.notes]

    def _what(self) -> str:
        if not self.differing:
            return (
                f"{_named(self.changed)} in {self.file} {_is(self.changed)} not as written; answers are within limits"
            )
        name = self.differing[0]
        others = f" (and {', '.join(self.differing[1:])})" if self.differing[1:] else ""
        return (
            f"{name}{others} of {self.file}, by {_share(self.distances[name])} of the model's spread, "
            f"allowed {_share(self.limits[name])}"
        )

    @property
    def is_damaged(self) -> bool:
        """Whether a few stored constants changed, as by a flipped bit, and no other cause explains the answers."""
        return bool(self.changed) and self.cause is None and len(self.changed) <= max(_NAMED, _DAMAGED * self.stored)

    def _cause(self) -> str:
        if self.cause is not None:
            said = CAUSES[self.cause].said if self.cause in CAUSES else "see docs/exams.md"
            others = f"; or {' or '.join(self.also)}, which this exam can hardly tell from it" if self.also else ""
            return f"{self.cause}: {said}{others}"
        if self.is_damaged:
            return f"weights changed after export: {_named(self.changed)} {_is(self.changed)} not as written"
        if self.layer is not None:
            return f"the runtime or exporter on this machine: {self.layer} is the first layer that answers otherwise"
        if self.looked_at_layers:
            return "this file alone: every layer of a fresh export answers rightly here"
        if self.changed or self.missing > self.stored / 2:
            return "none of the known ones; the weights are others than those of the export"
        if self.stored:
            return "none of the known ones; all weights are as written, so the runtime or what prepares images differs"
        return "none of the known ones"

    def _next(self) -> str:
        if self.cause is not None:
            return CAUSES[self.cause].next_step if self.cause in CAUSES else "Export the file again."
        if self.is_damaged or (self.looked_at_layers and self.layer is None):
            return "Copy the file again from where it was exported, or export it again."
        if self.layer is not None:
            return "Try another version of the runtime; at int8, keep_float=[LAYER] leaves the layer in float."
        return f"mnv2dense-check {self.file} checkpoint=RUN finds the first layer that differs."


def check_file(path: str | Path, *, threads: int | None = None) -> ExamReport:
    """Run the exam that an exported file carries, in the file's own runtime on this machine.

    ``mnv2dense.check_file("detector.onnx").lines()`` is the verdict in words.

    Args:
        path: .onnx, .xml (with its .bin beside it), .pte or .tflite (with their .json).
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
    said, exam = model.description, model.exam
    if exam is None:
        raise ValueError(
            f"{path}: it carries no exam (exported with exam.pictures=0, or by an older version); export it again, or "
            "compare it with its model by tools/evaluate.py."
        )
    _check_names(path, said, exam)
    notes = list[str]()
    answered = []
    for number, picture in enumerate(exam.pictures):
        image, back = prepared(picture.png, model.size, model.resize)
        if (off := float(np.abs(input_means(image[0].numpy()) - picture.input).max())) > _INPUT_ROOM:
            notes.append(f"Picture {number} is prepared otherwise here than at export (a mean is off by {off:.1f}).")
        answered.append(Answered(model.run(image), said, said.outputs, model.selection, back, model.size))
    distances, by_fault = _distances(exam, answered, said)
    changed, missing = _changed(path, exam, notes)
    causes, nearness = list[str](), 1.0
    if any(not distances[each] <= exam.limits[each] for each in distances):
        causes, nearness = _nearest(distances, by_fault, exam.limits)
    return ExamReport(
        file=path,
        runtime=model.runtime,
        distances=distances,
        limits=exam.limits,
        cause=causes[0] if causes else None,
        also=tuple(causes[1:]),
        nearness=nearness,
        changed=changed,
        missing=missing,
        stored=len(exam.weights),
        pictures=len(exam.pictures),
        notes=tuple(notes),
    )


def _check_names(path: Path, said: Metadata, exam: Exam) -> None:
    """Whether the exam is of this file's outputs.

    Raises:
        ValueError: it is not.
    """
    unknown = exam.at.keys() - set(said.output_tensors)
    lacking = {boxes_key(head) for head in selecting_heads(said)} - exam.limits.keys()
    if unknown or lacking:
        raise ValueError(
            f"{path}: its exam is of other outputs ({', '.join(sorted(unknown | lacking))}); export it again."
        )


def _distances(
    exam: Exam, answered: list[Answered], said: Metadata
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Output -> distance to the right answers; and fault -> the same to its answers."""
    pictures, labels = exam.pictures, label_outputs(said)
    found: dict[str, list[Values]] = {
        name: [values_at(each.arrays[name], places) for each in answered] for name, places in exam.at.items()
    }
    right: dict[str, float] = {}
    by_fault: dict[str, dict[str, float]] = {fault: {} for fault in exam.faults}
    for name, values in found.items():
        answers = [picture.answers[name] for picture in pictures]
        right[name] = values_apart(values, answers, answers, labels=name in labels)
        for fault, own in by_fault.items():
            wrong = [picture.otherwise[fault][name] for picture in pictures]
            own[name] = values_apart(values, wrong, answers, labels=name in labels)
    for head in selecting_heads(said):
        key = boxes_key(head)
        boxes = [boxes_of(each.results(0.0), head) for each in answered]
        right[key] = _boxes_apart(boxes, [boxes_of(picture.results, head) for picture in pictures], exam)
        for fault, own in by_fault.items():
            own[key] = _boxes_apart(boxes, [_boxes_with(picture, fault, key) for picture in pictures], exam)
    return right, by_fault


def _boxes_with(picture: ExamPicture, fault: str, key: str) -> list[dict[str, object]]:
    return list(picture.boxes_otherwise.get(fault, {}).get(key, []))


def _boxes_apart(found: list[list[dict[str, object]]], answers: list[list[dict[str, object]]], exam: Exam) -> float:
    pairs = [box_distance(ours, theirs, exam.score_threshold) for ours, theirs in zip(found, answers, strict=True)]
    total = sum(pair[1] for pair in pairs)
    return sum(pair[0] for pair in pairs) / total if total > 0 else 0.0


def _nearest(
    distances: Mapping[str, float], by_fault: Mapping[str, Mapping[str, float]], limits: Mapping[str, float]
) -> tuple[list[str], float]:
    """Faults whose answers are nearest, where they are clearly nearer than the right ones; and how near."""
    own = _together(distances, limits)
    shares = {fault: _together(found, limits) / own for fault, found in by_fault.items()}
    found = sorted((fault for fault, share in shares.items() if share < _NEARER), key=lambda fault: shares[fault])
    best = shares[found[0]] if found else 1.0
    return [fault for fault in found if shares[fault] <= 1.1 * best + _ALIKE], best


def _together(distances: Mapping[str, float], limits: Mapping[str, float]) -> float:
    """Of all outputs, each by its limit: one that is rounded coarsely tells little."""
    return math.sqrt(sum((each / max(limits[name], 1e-6)) ** 2 for name, each in distances.items()))


def _changed(path: Path, exam: Exam, notes: list[str]) -> tuple[tuple[str, ...], int]:
    """Constants that are not as written, and how many are gone."""
    if not exam.weights:
        return (), 0
    try:
        found = checksums(path)
    except ImportError as error:
        notes.append(f"Stored constants are not looked at: {error}.")
        return (), len(exam.weights)
    changed = tuple(name for name, crc in exam.weights.items() if name in found and found[name] != crc)
    missing = sum(name not in found for name in exam.weights)
    if missing:
        notes.append(f"{missing} of {len(exam.weights)} stored constants are gone: the file was written anew since.")
    return changed, missing


def _named(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _is(names: tuple[str, ...]) -> str:
    return "is" if len(names) == 1 else "are"


def _share(value: float) -> str:
    return f"{100 * value:.2g}%" if value < 10 else f"{value:.0f} times"
