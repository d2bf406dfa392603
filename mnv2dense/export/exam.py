"""The exam that a file carries, made when it has passed its gate."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from mnv2dense.export.exam_faults import ROUNDED, Fault, faults
from mnv2dense.export.exam_pictures import CANDIDATES, best_places, most_different, small_pictures
from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.options import ExamOptions
from mnv2dense.export.tasks import COUNTED_SCORE
from mnv2dense.runtimes.exam import FORMAT, Answers, Places, Values, input_means, plain_result
from mnv2dense.runtimes.exam_answers import (
    Answered,
    boxes_key,
    coarse,
    label_outputs,
    prepared,
    rounded,
    selecting_heads,
)
from mnv2dense.runtimes.exam_distances import MOST_BOXES, distances, spread_of
from mnv2dense.runtimes.exam_inputs import decoded
from mnv2dense.runtimes.exported_model import ExportedModel
from mnv2dense.runtimes.metadata import Metadata, Precision
from mnv2dense.types import Infos, JointResult
from mnv2dense.types.results import Detections, Segmentation
from mnv2dense.utils.spread import evenly

# Numbers kept of one picture's answers, all outputs together, and of one output.
_PLACES, _PLACES_OF_ONE = 96, 64

# Values of each output that tell whether pictures are answered differently.
_LOOKED_AT = 512

# Pixels of all inputs together that are looked through: fewer pictures where they are large.
_PIXELS, _FEWEST = CANDIDATES * 320 * 320, 12

# Of a file that is not run here, how far it may be from the model.
_UNRUN: dict[Precision, float] = {"fp32": 1e-2, "fp16": 5e-2, "int8": 0.5}

# A right file's distance is not the same everywhere, as other CPUs round otherwise. At int8 most of it is the rounding
# of weights, which is; three times that would let faults pass.
_ROOM: dict[Precision, float] = {"fp32": 3.0, "fp16": 3.0, "int8": 1.3}

# From what a file of int8 itself answered it may be as far as this, or as this share of its distance to the model:
# other kernels add whole numbers alike, but round what comes of them otherwise.
_OWN_LEAST, _OWN_SHARE = 0.02, 0.3

# Of any file; of labels a few places lie between two classes, where any rounding decides.
_LEAST, _LEAST_LABELS = 1e-3, 0.03

# Faults whose answers are no farther than so many limits from the right ones are not told.
_TOLD = 1.5


@final
@dataclass(frozen=True)
class MadeExam:
    """An exam, as a description holds it, and what to say of it."""

    said: dict[str, Any]
    notes: tuple[str, ...]


@torch.no_grad()
def make_exam(
    graph: ExportGraph,
    description: Metadata,
    options: ExamOptions,
    *,
    exported: ExportedModel | None,
    weights: Mapping[str, int],
) -> MadeExam:
    """Choose pictures, let the model answer them, rightly and with each fault, and measure the file against it.

    Args:
        graph: what was exported.
        description: of the file.
        options: what is asked.
        exported: the file; None where it does not run here.
        weights: crc32 of its stored constants.
    """
    seen = _Seen(graph, description)
    count = max(_FEWEST, min(CANDIDATES, _PIXELS // (graph.size[0] * graph.size[1])))
    candidates = small_pictures(options.images, graph.size, max(count, options.pictures), fewest=options.pictures)
    chosen = _chosen(seen, candidates, options.pictures)
    right = [seen.rightly(png) for png in chosen]
    at = _places(right)
    threshold = _threshold(right, description)
    labels = label_outputs(description)

    def answers_of(pictures: Sequence[Answered]) -> list[Answers]:
        return [each.answers(at, threshold) for each in pictures]

    answers = answers_of(right)

    def apart(others: Sequence[Answers]) -> dict[str, float]:
        return distances(others, answers, answers, labels=labels, threshold=threshold)

    known = faults(graph)
    if "target" in description.extra:  # such rounding was asked for, so it is no fault
        del known[ROUNDED]
    wrong = {name: answers_of([seen.wrongly(png, fault) for png in chosen]) for name, fault in known.items()}
    precision = description.precision
    names = [*at, *map(boxes_key, selecting_heads(description))]
    least = {name: _LEAST_LABELS if name in labels else _LEAST for name in names}
    limits, own, own_limits = dict.fromkeys(names, _UNRUN[precision]), list[Answers](), dict[str, float]()
    if exported is not None:
        file = answers_of([seen.by_file(png, exported) for png in chosen])
        far = apart(file)
        limits = {name: max(least[name], _ROOM[precision] * far[name]) for name in names}
        if precision == "int8":
            own = file
            own_limits = {
                name: min(limits[name], max(least[name], _OWN_LEAST, _OWN_SHARE * far[name])) for name in names
            }
    needed = own_limits or limits
    untold = [name for name, each in wrong.items() if all(d < _TOLD * needed[key] for key, d in apart(each).items())]
    spreads = {
        name: spread_of([each.values[name] for each in answers]) / (len(chosen) * len(at[name])) ** 0.5 for name in at
    }

    def plain(given: Answers) -> dict[str, Any]:
        values = {name: coarse(found, spreads[name]) for name, found in given.values.items()}
        return values | {key: boxes[:MOST_BOXES] for key, boxes in given.boxes.items()}

    def shortened(limits: Mapping[str, float]) -> dict[str, float]:
        return {name: float(f"{limit:.3g}") for name, limit in limits.items()}

    pictures = []
    for number, (png, answered) in enumerate(zip(chosen, right, strict=True)):
        image, _ = prepared(png, graph.size, graph.model.resize)
        pictures.append(
            {
                "png": base64.b64encode(png).decode(),
                "input": input_means(image[0].numpy()).round(1).tolist(),
                "answers": {name: rounded(found) for name, found in answers[number].values.items()},
                "otherwise": {name: plain(each[number]) for name, each in wrong.items() if name not in untold},
                "results": answered.results(threshold),
                **({"own": plain(own[number])} if own else {}),
            }
        )
    said = {
        "format": FORMAT,
        "pictures": pictures,
        "score_threshold": threshold,
        "at": {name: places.tolist() for name, places in at.items()},
        "limits": shortened(limits),
        "weights": dict(weights),
        **({"own_limits": shortened(own_limits)} if own else {}),
    }
    return MadeExam(said, tuple(_notes(options, right, untold)))


class _Seen:
    """A graph, with what its file says, that answers pictures."""

    def __init__(self, graph: ExportGraph, description: Metadata) -> None:
        self._graph = graph
        self._description = description
        self._selection = description.make_selection()

    def rightly(self, png: bytes) -> Answered:
        image, back = prepared(png, self._graph.size, self._graph.model.resize)
        return self._answered(list(self._graph(image)), back)

    def wrongly(self, png: bytes, fault: Fault) -> Answered:
        # Whoever makes the mistake goes back as is right, and so finds boxes elsewhere.
        _, back = prepared(png, self._graph.size, self._graph.model.resize)
        return self._answered(list(fault.graph(fault.prepare(decoded(png)))), back)

    def by_file(self, png: bytes, exported: ExportedModel) -> Answered:
        image, back = prepared(png, self._graph.size, self._graph.model.resize)
        form = self._description.outputs
        return Answered(exported.run(image), self._description, form, self._selection, back, self._graph.size)

    def _answered(self, tensors: Sequence[Tensor], back: Infos) -> Answered:
        graph = self._graph
        return Answered(tensors, self._description, graph.outputs, self._selection, back, graph.size)


def _chosen(seen: _Seen, candidates: Sequence[bytes], count: int) -> list[bytes]:
    """Those whose answers differ most, among those that show something where there are enough."""
    answers, shows = [], []
    for png in candidates:
        found = seen.rightly(png)
        parts = [array.reshape(-1)[evenly(array.size, _LOOKED_AT)] for array in found.arrays.values()]
        boxes = [_sketch(one) for one in _single(found.result)]
        answers.append(np.nan_to_num(np.concatenate([*parts, *boxes]).astype(np.float64)))
        shows.append(_shows(found.result))
    among = [number for number, told in enumerate(shows) if told]
    if len(among) < count:
        among = list(range(len(candidates)))
    taken = most_different(np.stack([answers[number] for number in among]), count)
    return [candidates[among[number]] for number in taken]


def _single(result: Any) -> list[Any]:  # noqa: ANN401 - of any task
    return [result[name] for name in result] if isinstance(result, JointResult) else [result]


def _sketch(result: Any) -> Values:  # noqa: ANN401 - of any task
    """Of boxes that are selected inside a file: how much of each class there is."""
    made = np.zeros(len(result.class_names))
    if isinstance(result, Detections):
        np.add.at(made, result.labels.numpy(), result.scores.numpy())
    return made


def _shows(result: Any) -> bool:  # noqa: ANN401 - of any task
    """Whether there is a box, or more than one class."""
    return all(
        len(one.above(COUNTED_SCORE)) > 0
        if isinstance(one, Detections)
        else len(one) > 1
        if isinstance(one, Segmentation)
        else True
        for one in _single(result)
    )


def _places(right: Sequence[Answered]) -> dict[str, Places]:
    """Where the pictures' answers differ most."""
    names = list(right[0].arrays)
    count = min(_PLACES_OF_ONE, _PLACES // max(1, len(names)))
    return {
        name: np.array(best_places(np.stack([each.arrays[name].reshape(-1) for each in right]), count), np.int64)
        for name in names
    }


def _threshold(right: Sequence[Answered], description: Metadata) -> float:
    """That of boxes that count; higher where there were more than a few, lower where they are selected and none is."""
    scores = [
        sorted(one.scores.tolist(), reverse=True)
        for each in right
        for one in _single(each.result)
        if isinstance(one, Detections)
    ]
    if not scores:
        return COUNTED_SCORE
    threshold = COUNTED_SCORE
    if selecting_heads(description) and not any(each and each[0] > threshold for each in scores):
        threshold = 0.0
    threshold = max(threshold, *(each[MOST_BOXES] if len(each) > MOST_BOXES else 0.0 for each in scores))
    return min(0.99, float(f"{threshold:.4g}"))


def _notes(options: ExamOptions, right: Sequence[Answered], untold: Sequence[str]) -> list[str]:
    notes = []
    if options.images is not None:
        notes.append(f"The file holds {len(right)} small pictures of {options.images}, for whoever gets it.")
    results = [plain_result(each.result, threshold=COUNTED_SCORE) for each in right]
    is_same = len(right) > 1 and all(result == results[0] for result in results)
    if is_same or not any(_shows(each.result) for each in right):
        notes.append(
            "The exam is blind: on its pictures the model decides the same each time, so decisions tell nothing and "
            "numbers alone are compared. exam.images=FOLDER takes pictures of yours, which then stand in the file."
        )
    if untold:
        notes.append(f"The exam cannot tell: {', '.join(untold)}.")
    return notes
