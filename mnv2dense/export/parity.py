"""An exported file beside the model it was made of: the same images through both, and how far apart they come out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor

from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.tasks import COUNTED_SCORE, TASKS
from mnv2dense.ops.boxes import pairwise_iou
from mnv2dense.ops.postprocess import JointSelection, Selection
from mnv2dense.ops.resize import Fit, infos
from mnv2dense.runtimes.exported_model import ExportedModel, by_part, results_of
from mnv2dense.runtimes.metadata import OUTPUT_TENSORS, Outputs, Precision
from mnv2dense.types import Classification, Detections, Segmentation

# Boxes that are shown are looked for in the other's answer. There at half that score they still count: a box at 0.29 is
# no disagreement with one at 0.31.
_FOUND_SCORE = COUNTED_SCORE / 2

# Boxes of one answer overlap less, so a pair is one box and not two neighbours.
_SAME_IOU = 0.9

# Of int8, what a good calibration reaches on real images, with room for the chance of a few dozen of them.
_AGREEMENT: dict[Precision, dict[str, float]] = {
    "fp32": {"classification": 0.99, "segmentation": 0.999, "detection": 0.98},
    "fp16": {"classification": 0.98, "segmentation": 0.98, "detection": 0.98},
    "int8": {"classification": 0.90, "segmentation": 0.95, "detection": 0.85},
}


# Of the answers that are not the model's commonest one. A file that says "background" of every pixel agrees on most of
# them; of the others it agrees on none.
_LEAST_UNCOMMON = 0.5

# Fewer such answers than this, or than a hundredth of all, may be the doubtful ones, where any rounding decides.
_FEWEST_UNCOMMON = 5


class ParityError(ValueError):
    """A file that answers otherwise than its model; the message says where they part."""


@final
@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far apart a file and its model may be.

    Attributes:
        difference: largest difference of an output tensor, as a share of the range of its values; None asks for finite
            values alone.
        agreement: smallest share of equal answers, 0..1: likeliest classes, pixels, or boxes.
        parts: of several heads, name -> what is allowed of its answers; empty of one.

    Raises:
        ValueError: a difference below 0, or an agreement outside 0..1.
    """

    difference: float | None
    agreement: float
    parts: Mapping[str, Tolerance] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.difference is not None and not self.difference >= 0:
            raise ValueError(f"tolerance.difference={self.difference}: 0 or more, a share of the output's range.")
        if not 0 <= self.agreement <= 1:
            raise ValueError(f"tolerance.agreement={self.agreement}: a share, 0 to 1.")

    @classmethod
    def of(
        cls,
        precision: Precision,
        task: str,
        *,
        difference: float | None = None,
        agreement: float | None = None,
        parts: Mapping[str, str] | None = None,
    ) -> Tolerance:
        """What a precision should reach on a task, where not said otherwise: of fp32, rounding alone.

        Args:
            precision: of the file.
            task: of the model.
            difference: see the class.
            agreement: likewise; of several heads, of each of them.
            parts: of several heads, name -> task.
        """
        if parts:
            each = {
                name: cls.of(precision, own, difference=difference, agreement=agreement) for name, own in parts.items()
            }
            least = min(each.values(), key=lambda one: one.agreement)
            return cls(difference=least.difference, agreement=least.agreement, parts=each)
        if difference is None and precision == "fp32":
            difference = 1e-4
        return cls(difference=difference, agreement=_AGREEMENT[precision][task] if agreement is None else agreement)


@final
@dataclass(frozen=True)
class Difference:
    """Between the model's and the file's values of one output tensor.

    Attributes:
        name: of the tensor.
        largest: absolute.
        relative: the same as a share of the range of the model's values.
    """

    name: str
    largest: float
    relative: float


@final
@dataclass(frozen=True)
class Parity:
    """What a comparison found.

    Attributes:
        task: of the model.
        images: how many were compared.
        differences: of each output tensor of numbers; of boxes selected inside the file, between those that answer
            each other.
        agreement: share of equal answers, 0..1; None where there is nothing to count, as with a detector that finds
            nothing.
        counted: of how many images, pixels or boxes.
        uncommon_agreement: the same share where the model's answer is another class than its commonest; None where that
            is too seldom to count, and of detectors.
        parts: of several heads, name -> what was found of its answers; the numbers above are the worst of these.
    """

    task: str
    images: int
    differences: tuple[Difference, ...]
    agreement: float | None
    counted: int
    uncommon_agreement: float | None = None
    parts: Mapping[str, Parity] = field(default_factory=dict)

    def tells(self, tolerance: Tolerance) -> bool:
        """Whether there was anything to judge the file by; of several heads, each of them."""
        if self.parts:
            return all(part.tells(tolerance.parts.get(name, tolerance)) for name, part in self.parts.items())
        if self.agreement is not None or tolerance.agreement == 0:
            return True
        return tolerance.difference is not None and bool(self.differences)

    def failures(self, tolerance: Tolerance) -> list[str]:
        """What is past the tolerance, each in a few words; nothing where the file may be used."""
        if self.parts:
            return [
                f"{name}: {failure}"
                for name, part in self.parts.items()
                for failure in part.failures(tolerance.parts.get(name, tolerance))
            ]
        found = []
        for difference in self.differences:
            if not math.isfinite(difference.largest):
                found.append(f"{difference.name} has values that are no numbers")
            elif tolerance.difference is not None and difference.relative > tolerance.difference:
                found.append(
                    f"{difference.name} differ by {difference.relative:.2g} of their range, allowed are "
                    f"{tolerance.difference:.2g}"
                )
        if self.agreement is not None and self.agreement < tolerance.agreement:
            found.append(
                f"{self.agreement:.1%} of {TASKS[self.task].counted} agree, needed are {tolerance.agreement:.1%} "
                f"({self.images} images)"
            )
        least = min(_LEAST_UNCOMMON, tolerance.agreement)
        if self.uncommon_agreement is not None and self.uncommon_agreement < least:
            found.append(
                f"{self.uncommon_agreement:.1%} of {TASKS[self.task].counted} agree outside the model's commonest "
                f"class, needed are {least:.1%}"
            )
        return found

    def plain(self) -> dict[str, Any]:
        """Every number, as json takes it."""
        return asdict(self)


@torch.no_grad()
def compare(graph: ExportGraph, exported: ExportedModel, images: Sequence[Tensor]) -> Parity:
    """Run the graph that was exported and the file on the same images.

    Args:
        graph: what the file was made of; runs as it is, in float32.
        exported: the file.
        images: uint8 [1, 3, H, W] each, resized to the input already.

    Raises:
        ValueError: no images.
    """
    if not images:
        raise ValueError("there are no images to compare the file and its model on.")
    said, selection = exported.description, exported.description.make_selection()
    if not isinstance(selection, JointSelection):
        count = _Comparison(said.outputs, graph.outputs, selection, exported.task)
        for image in images:
            count.add(list(graph(image)), exported.run(image), (image.shape[-2], image.shape[-1]))
        return count.parity(len(images))
    counts = {
        name: _Comparison(form, graph.parts[name], selection.parts[name], selection.config["parts"][name]["task"])
        for name, form in said.parts.items()
    }
    for image in images:
        ours, theirs = by_part(graph.parts, graph(image)), by_part(said.parts, exported.run(image))
        for name, count in counts.items():
            count.add(ours[name], theirs[name], (image.shape[-2], image.shape[-1]))
    return _of_parts({name: count.parity(len(images)) for name, count in counts.items()}, len(images))


def _of_parts(parts: Mapping[str, Parity], images: int) -> Parity:
    """What several heads' answers came to, by the worst of them."""
    told = [part.agreement for part in parts.values() if part.agreement is not None]
    uncommon = [part.uncommon_agreement for part in parts.values() if part.uncommon_agreement is not None]
    differences = [
        replace(each, name=f"{name} {each.name}") for name, part in parts.items() for each in part.differences
    ]
    return Parity(
        task="joint",
        images=images,
        differences=tuple(differences),
        agreement=min(told, default=None),
        counted=sum(part.counted for part in parts.values()),
        uncommon_agreement=min(uncommon, default=None),
        parts=parts,
    )


class _Comparison:
    """Of one head's answers, image by image.

    Args:
        form: what comes out of the file.
        graph_form: what comes out of the graph.
        selection: decides.
        task: of the head.
    """

    def __init__(self, form: Outputs, graph_form: Outputs, selection: Selection, task: str) -> None:
        self._form, self._graph_form = form, graph_form
        self._selection = selection
        self._task = task
        self._spans = {name: _Span(name) for name in _numbers(form)}
        self._agreed = self._counted = 0
        self._classes = _Classes(len(selection.class_names))

    def add(self, ours: Sequence[Tensor], theirs: Sequence[Tensor], size: tuple[int, int]) -> None:
        """The tensors of the graph and of the file for one image of (height, width)."""
        # The image is its own original, so that the way back changes nothing.
        back = infos([0], [size], [Fit(1.0, 1.0, 0.0, 0.0)])
        form, spans = self._form, self._spans
        (expected,) = results_of(self._graph_form, ours, self._selection, back, size)
        (answer,) = results_of(form, theirs, self._selection, back, size)
        if form == "selected_boxes":
            for row, column in pairs(expected, answer):
                spans["boxes"].add(expected.boxes[row], answer.boxes[column])
                spans["scores"].add(expected.scores[row], answer.scores[column])
        else:
            named = dict(zip(OUTPUT_TENSORS[form], theirs, strict=True))
            for name, tensor in zip(OUTPUT_TENSORS[self._graph_form], ours, strict=True):
                if name in spans:
                    # ONNX's node for suppression wants classes before anchors.
                    turned = form == "nms_node" and name == "scores"
                    spans[name].add(tensor.mT if turned else tensor, named[name])
        if isinstance(expected, Detections):
            equal, of = _same_boxes(expected, answer)
        else:
            equal, of = self._classes.add(_labels(expected), _labels(answer))
        self._agreed, self._counted = self._agreed + equal, self._counted + of

    def parity(self, images: int) -> Parity:
        return Parity(
            task=self._task,
            images=images,
            differences=tuple(span.difference() for span in self._spans.values() if span.seen),
            agreement=self._agreed / self._counted if self._counted else None,
            counted=self._counted,
            uncommon_agreement=self._classes.uncommon_agreement(),
        )


def pairs(first: Detections, second: Detections, *, iou: float = 0.5) -> list[tuple[int, int]]:
    """Boxes of two answers that mean the same: one class, IoU of at least ``iou``; each once, best scores first."""
    overlaps = pairwise_iou(first.boxes, second.boxes) * (first.labels[:, None] == second.labels[None])
    found = []
    for row in range(len(first)):
        if not len(second):
            break
        best = int(overlaps[row].argmax())
        if overlaps[row, best] >= iou:
            found.append((row, best))
            overlaps[:, best] = 0
    return found


class _Span:
    """The largest difference of a tensor over all images, and the range of the model's values."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.largest = 0.0
        self.low, self.high = math.inf, -math.inf

    @property
    def seen(self) -> bool:
        """Whether there was anything to add."""
        return self.low <= self.high or math.isnan(self.largest)

    def add(self, ours: Tensor, theirs: Tensor) -> None:
        if ours.shape != theirs.shape:
            raise ParityError(
                f"{self.name} are {list(theirs.shape)} in the file and {list(ours.shape)} in the model it was made of."
            )
        largest = float((ours - theirs.to(ours.dtype)).abs().max())
        # max() alone would forget a NaN that comes second.
        self.largest = math.nan if math.isnan(largest + self.largest) else max(largest, self.largest)
        self.low, self.high = min(self.low, float(ours.min())), max(self.high, float(ours.max()))

    def difference(self) -> Difference:
        # A tensor of one value throughout has no range; then a share of that value.
        span = self.high - self.low if self.high > self.low else abs(self.high)
        return Difference(self.name, self.largest, self.largest / span if span > 0 else self.largest)


class _Classes:
    """How often the model says each class, and how often the file says so too."""

    def __init__(self, count: int) -> None:
        self._said = torch.zeros(count, dtype=torch.long)
        self._agreed = torch.zeros(count, dtype=torch.long)

    def add(self, ours: Tensor, theirs: Tensor) -> tuple[int, int]:
        """Count labels [N]; return how many of how many are equal."""
        equal = ours[ours == theirs]
        self._said += torch.bincount(ours, minlength=len(self._said))
        self._agreed += torch.bincount(equal, minlength=len(self._agreed))
        return len(equal), len(ours)

    def uncommon_agreement(self) -> float | None:
        uncommon = torch.arange(len(self._said)) != self._said.argmax()
        said = int(self._said[uncommon].sum())
        if said < max(_FEWEST_UNCOMMON, 0.01 * int(self._said.sum())):
            return None
        return int(self._agreed[uncommon].sum()) / said


def _labels(answer: Classification | Segmentation) -> Tensor:
    """Of the image, or of each of its pixels."""
    return answer.labels[:1] if isinstance(answer, Classification) else answer.labels.flatten()


def _numbers(form: Outputs) -> list[str]:
    """The outputs that are numbers and not decisions."""
    return [name for name in OUTPUT_TENSORS[form] if name not in ("labels", "selected")]


def _same_boxes(expected: Detections, answer: Detections) -> tuple[int, int]:
    """How many of how many boxes that either shows the other has too."""
    found = total = 0
    for shown, others in ((expected, answer), (answer, expected)):
        wanted = shown.above(COUNTED_SCORE)
        found += len(pairs(wanted, others.above(_FOUND_SCORE)))
        total += len(wanted)
    return found, total
