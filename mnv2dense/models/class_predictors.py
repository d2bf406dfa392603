"""Class predictors from one list of classes to another: by the classes' names, whatever their order."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mnv2dense.models.dense_model import DenseModel
from mnv2dense.protocols import NO_CLASS, ClassRows
from mnv2dense.utils.listed import listed
from mnv2dense.utils.renamed import address_now


class Brought(NamedTuple):
    """What a model takes of other weights.

    Attributes:
        tensors: by the names of the model's ``state_dict()``.
        kept: classes whose predictors are among them, in the model's order.
        said: what became of the classes, in a line; empty where the weights have none.
    """

    tensors: dict[str, Tensor]
    kept: tuple[str, ...]
    said: str


def bring(
    model: DenseModel,
    fitting: Mapping[str, Tensor],
    described: Mapping[str, Any] | None,
    source: Callable[[], DenseModel],
) -> Brought:
    """Tensors that fit a model, without those that predict other classes, and with the rows of classes it has too.

    Args:
        model: what they are for; is left as it is.
        fitting: tensors of others, of the same name and shape as the model's own.
        described: the config of the model that they are of, its ``class_names`` empty where they are not known; None of
            a backbone alone.
        source: makes that model; asked where rows have to be moved.

    Raises:
        ValueError: what a head says of its rows does not fit its tensors and classes.
    """
    if described is None:
        return Brought(dict(fitting), (), "")
    ours, theirs = model.class_names, tuple(described["class_names"])
    rows = class_rows(model)
    of_classes = {name for name in model.state_dict() if name.startswith("head.")} if rows is None else set(rows)
    is_same_head = _target(described["head"]) == _target(model.config["head"])
    if is_same_head and theirs == ours and (rows is None or of_classes <= fitting.keys()):
        return Brought(dict(fitting), ours, f"classes {listed(ours)} kept")
    if rows is None and len(theirs) != len(ours):
        # What has one shape for 5 classes and for 7 has no rows of classes.
        return Brought(dict(fitting), (), f"{len(theirs)} classes there, {len(ours)} here: their predictors begin anew")
    rest = {name: tensor for name, tensor in fitting.items() if name not in of_classes}
    if rows is None:
        head = type(model.head).__name__
        return Brought(rest, (), f"other classes there, and {head} has no class_rows(): all of it begins anew")
    if not is_same_head:
        return Brought(rest, (), "another head there: what predicts classes begins anew")
    # Making a model may draw, and what the run draws after this is to stay as it is.
    with torch.random.fork_rng(devices=[]):
        try:
            given = source()
        except ValueError as error:
            return Brought(rest, (), f"what predicts classes begins anew, as the model there cannot be made: {error}")
    if (scores := getattr(given.head, "scores", None)) != getattr(model.head, "scores", None):
        return Brought(rest, (), f"{scores} scores there: what predicts classes begins anew")
    tensors, kept = _moved(model, given, names=theirs)
    return Brought({**rest, **tensors}, kept, _said(theirs, ours, kept))


def class_rows(model: DenseModel) -> dict[str, tuple[int, ...]] | None:
    """Tensor of a model's ``state_dict()`` -> the label of each of its rows; None where its head does not say.

    Raises:
        ValueError: what the head says is not of its tensors and classes.
    """
    if not isinstance(model.head, ClassRows):
        return None
    state, count = model.state_dict(), len(model.class_names)
    rows = {f"head.{name}": tuple(labels) for name, labels in model.head.class_rows().items()}
    for name, labels in rows.items():
        if name not in state or len(state[name]) != len(labels) or not set(labels) <= {NO_CLASS, *range(count)}:
            raise ValueError(
                f"{type(model.head).__name__}.class_rows() gives {len(labels)} labels for {name!r}; it has to give "
                f"one, 0 to {count - 1} or {NO_CLASS}, for each row of a tensor of the head's state_dict()."
            )
    return rows


def _moved(model: DenseModel, source: DenseModel, *, names: Sequence[str]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The predictors that have rows of the source's, and the classes that these are of.

    Rows of no class come along with those of any. A class that has another number of rows here than there, as with
    other anchors, stays as it is.
    """
    rows, their_rows = class_rows(model) or {}, class_rows(source) or {}
    place = _places(names, model.class_names)
    own, given = model.state_dict(), source.state_dict()
    tensors: dict[str, Tensor] = {}
    came: set[int] = set()
    for name, labels in rows.items():
        if name not in their_rows or own[name].shape[1:] != given[name].shape[1:]:
            continue
        pairs = _pairs(labels, [place.get(label) for label in their_rows[name]])
        if any(labels[to] != NO_CLASS for to, _ in pairs):
            tensors[name] = own[name].clone()
            tensors[name][[to for to, _ in pairs]] = given[name][[of for _, of in pairs]].to(own[name])
            came |= {labels[to] for to, _ in pairs}
    return tensors, tuple(model.class_names[label] for label in sorted(came - {NO_CLASS}))


def _places(theirs: Sequence[str], ours: Sequence[str]) -> dict[int, int]:
    """Their label -> ours of the same name; a name that a list has twice means nothing."""
    label_of = {name: label for label, name in enumerate(ours) if ours.count(name) == 1}
    same = {label: label_of[name] for label, name in enumerate(theirs) if name in label_of and theirs.count(name) == 1}
    return {NO_CLASS: NO_CLASS, **same}


def _pairs(ours: Sequence[int], theirs: Sequence[int | None]) -> list[tuple[int, int]]:
    """(our row, their row) of the same label, its first to its first, where both have as many."""
    rows_of: dict[int | None, deque[int]] = defaultdict(deque)
    for row, label in enumerate(theirs):
        rows_of[label].append(row)
    counts = Counter(ours)
    same = {label for label, count in counts.items() if len(rows_of[label]) == count}
    return [(row, rows_of[label].popleft()) for row, label in enumerate(ours) if label in same]


def _said(theirs: Sequence[str], ours: Sequence[str], kept: Sequence[str]) -> str:
    new, gone = [name for name in ours if name not in kept], [name for name in theirs if name not in kept]
    if not kept:
        there = listed(theirs) or "without names"
        return f"none of its classes ({there}) is among {listed(ours)}: what predicts these begins anew"
    said = f"classes {listed(kept)} kept"
    if new:
        said += f"; {listed(new)} {'is' if len(new) == 1 else 'are'} new"
    if gone:
        said += f"; {listed(gone)} left out"
    return said


def _target(head: Mapping[str, Any]) -> str:
    return address_now(str(head.get("_target_")))
