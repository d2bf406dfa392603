"""A data set examined: everything that is looked at, put together."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.doctor.alike import groups_of, pairs_in
from mnv2dense.doctor.copies import Pair, suspects_of_copies
from mnv2dense.doctor.descriptors import is_flat
from mnv2dense.doctor.facts import SplitFacts
from mnv2dense.doctor.findings import Finding, findings_of
from mnv2dense.doctor.input_size import InputFit, input_fit
from mnv2dense.doctor.looks import Looks, look_at
from mnv2dense.doctor.suspect import Suspect
from mnv2dense.doctor.truth import TruthLook, look_at_truth
from mnv2dense.ops.resize import ResizeMode
from mnv2dense.protocols import Dataset, JoinedData

if TYPE_CHECKING:
    from torch import Tensor

Told = Callable[[str, int, int], None]
"""Called with what is done now, how many images of it are done, and of how many."""


class ModelInput(NamedTuple):
    """What a model is going to see the images by.

    Attributes:
        size: (height, width) in pixels.
        mode: how images get there.
        stride: of the finest map that its head reads, pixels; None of a head that is none of boxes.
        anchors_at: size -> the head's anchors at that input, [A, 4], xyxy in pixels; None of a head without.
    """

    size: tuple[int, int]
    mode: ResizeMode
    stride: int | None
    anchors_at: Callable[[tuple[int, int]], Tensor | None]


class Diagnosis(NamedTuple):
    """What was found.

    Attributes:
        name: of the data, for people.
        task: "detection", "segmentation", "classification" or "joint".
        class_names: K.
        facts: of each split, those of training first.
        inputs: name of the facts -> what the model's input does to the objects of the first split.
        suspects: all, those of the worst kinds first, and of a kind the surest.
        findings: what to know in a sentence each, the worst first.
        seconds: that the examination took.
        images: of all splits.
        groups: int64 [images], those of a number show the same or nearly so (:func:`groups_of`).
    """

    name: str
    task: str
    class_names: tuple[str, ...]
    facts: tuple[SplitFacts, ...]
    inputs: dict[str, InputFit]
    suspects: tuple[Suspect, ...]
    findings: tuple[Finding, ...]
    seconds: float
    images: int
    groups: npt.NDArray[np.int64]

    def with_more(self, more: Sequence[Suspect]) -> Diagnosis:
        """The same with suspects that others found, such as wrong labels by a model's own predictions."""
        findings, ordered = findings_of(
            [*self.suspects, *more], self.facts, self.inputs, self.class_names, images=self.images
        )
        return self._replace(findings=findings, suspects=ordered)


def examine(
    splits: Mapping[str, Dataset],
    *,
    name: str,
    task: str,
    model: ModelInput,
    told: Told = lambda job, done, total: None,
) -> Diagnosis:
    """Look at every image and label of a data set; no model is needed.

    Args:
        splits: "train", "val" -> a data set of boxes, masks or classes, or several joined; that of training first. Made
            with ``bad_images='keep'``, so that what is bad comes out here and stops nobody.
        name: of the data, for people.
        task: see :class:`Diagnosis`.
        model: what it is going to be seen by.
        told: for a progress bar.

    Raises:
        ValueError: no split, splits of other classes than each other, or a data set of neither task.
    """
    if not splits:
        raise ValueError("there is no data set to examine: give train, val or both.")
    begun = time.perf_counter()
    looks = {
        split: look_at(dataset, told=functools.partial(told, f"reading {split}")) for split, dataset in splits.items()
    }
    suspects: list[Suspect] = []
    facts: list[SplitFacts] = []
    inputs: dict[str, InputFit] = {}
    classes: list[list[tuple[str, ...]] | None] = []
    for split, dataset in splits.items():
        suspects += _of_images(looks[split])
        own: TruthLook | None = None
        for part, (data, seen) in _parts(dataset, looks[split]).items():
            called = f"{split}{part}"
            own = look_at_truth(called, data, seen, told=functools.partial(told, f"masks of {called}"))
            facts.append(own.facts)
            suspects += own.suspects
            if own.columns is not None and model.stride is not None and split == next(iter(splits)):
                fitting = input_fit(
                    *(seen, own.columns),
                    size=model.size,
                    mode=model.mode,
                    stride=model.stride,
                    anchors_at=model.anchors_at,
                )
                if fitting is not None:
                    inputs[called] = fitting
        classes.append(None if isinstance(dataset, JoinedData) or own is None else own.classes)
    pairs = pairs_in(splits, looks)
    suspects += _copies(pairs, looks, classes)
    class_names = tuple(next(iter(splits.values())).class_names)
    images = sum(len(own.paths) for own in looks.values())
    findings, ordered = findings_of(suspects, facts, inputs, class_names, images=images)
    seconds = time.perf_counter() - begun
    groups = groups_of(pairs, images)
    return Diagnosis(name, task, class_names, tuple(facts), inputs, ordered, findings, seconds, images, groups)


def _of_images(looks: Looks) -> list[Suspect]:
    """What is suspect of the files alone."""

    def suspect(kind: str, place: int, score: float, said: str) -> Suspect:
        return Suspect(kind, looks.paths[place], looks.image_ids[place], score, said)

    broken = [suspect("broken image", place, 1.0, said) for place, said in looks.faults.items()]
    unusual = [suspect("unusual image", place, 0.5, said) for place, said in looks.notes.items()]
    flat = np.flatnonzero(is_flat(looks.thumbs) & (looks.sizes > 0).all(axis=1)).tolist()
    said = "is nearly one colour: nothing can be told on it"
    return broken + unusual + [suspect("flat image", place, 0.9, said) for place in flat]


def _parts(dataset: Dataset, looks: Looks) -> dict[str, tuple[Dataset, Looks]]:
    """What each head learns from, and its images; a data set of one head is its only part, called ""."""
    if not isinstance(dataset, JoinedData):
        return {"": (dataset, looks)}
    found = {}
    for name, part in dataset.parts.items():
        places = {}
        for place, image_id in enumerate(looks.image_ids):
            if (own := dataset.id_in(name, image_id)) is not None:
                places[own] = place
        ids = [int(image_id) for image_id in getattr(part, "image_ids", places)]
        seen = looks.chosen([places[image_id] for image_id in ids])
        found[f".{name}"] = (part, seen._replace(image_ids=ids))
    return found


def _copies(
    pairs: Sequence[Pair], looks: Mapping[str, Looks], classes: Sequence[list[tuple[str, ...]] | None]
) -> list[Suspect]:
    """Duplicates, leaks, and what is nearly one; places count through all splits."""
    where = [split for split, own in looks.items() for _ in own.paths]
    lengths = [len(own.paths) for own in looks.values()]
    starts = dict(zip(looks, np.cumsum([0, *lengths[:-1]]).tolist(), strict=True))
    known = dict(zip(looks, classes, strict=True))

    def labels(at: int) -> tuple[str, ...] | None:
        split = where[at]
        own = known[split]
        return None if own is None else own[at - starts[split]]

    return suspects_of_copies(list(looks.items()), pairs, labels)
