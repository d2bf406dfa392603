"""The libraries that evaluate boxes give the same tables, on sets made of all that they could differ in."""

from __future__ import annotations

import importlib.metadata

import numpy as np
import pytest

from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.metrics.coco_backends import BACKENDS, Tables, chosen_backend
from tests.helpers.random_boxes import random_set

SETS = 300


def columns(seed: int) -> tuple[FoundBoxes, TrueBoxes, int]:
    """A random set as the backends take it."""
    made = random_set(seed)
    truth = TrueBoxes.of_columns(made.truth)
    places = {image_id: place for place, image_id in enumerate(truth.image_ids.tolist())}
    order = sorted(made.found)
    return (
        FoundBoxes.of_tables([made.found[each] for each in order], [places[each] for each in order]),
        truth,
        made.classes,
    )


def most_off(first: Tables, second: Tables) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True))


@pytest.mark.needs("hotcoco")
def test_hotcoco_and_faster_coco_eval_agree_on_every_table_of_all_sets() -> None:
    off = {}
    for seed in range(SETS):
        given = columns(seed)
        off[seed] = most_off(BACKENDS["hotcoco"](*given), BACKENDS["faster_coco_eval"](*given))
    assert {seed: value for seed, value in off.items() if value > 1e-15} == {}


def equals_pycocotools(seed: int) -> bool:
    """Hotcoco's tables are pycocotools' to the bit."""
    given = columns(seed)
    return most_off(BACKENDS["hotcoco"](*given), BACKENDS["pycocotools"](*given)) == 0


@pytest.mark.needs("hotcoco")
def test_hotcoco_is_pycocotools_to_the_bit_on_some_sets() -> None:
    assert [seed for seed in range(0, SETS, 9) if not equals_pycocotools(seed)] == []


@pytest.mark.slow
@pytest.mark.needs("hotcoco")
def test_hotcoco_is_pycocotools_to_the_bit_on_all_sets() -> None:
    assert [seed for seed in range(SETS) if not equals_pycocotools(seed)] == []


def test_the_sets_have_what_evaluators_could_differ_in() -> None:
    seen = dict.fromkeys(("no box", "no object", "crowd", "tie", "over 100", "same object", "no width"), 0)
    areas, absent = set(), 0
    for seed in range(SETS):
        found, truth, classes = columns(seed)
        cells = np.bincount(found.images * classes + found.labels, minlength=1)
        rows = np.column_stack([truth.images, truth.labels, truth.boxes])
        seen["no box"] += not len(found.labels)
        seen["no object"] += not len(truth.labels)
        seen["crowd"] += truth.crowds.any()
        seen["tie"] += len(np.unique(found.scores)) < len(found.scores)
        seen["over 100"] += cells.max() > 100
        seen["same object"] += len(np.unique(rows, axis=0)) < len(rows)
        seen["no width"] += (truth.boxes[:, 2] == 0).any()
        areas |= set(truth.areas.tolist())
        absent += len(truth.labels) > 0 and len(np.unique(truth.labels)) < classes
    assert min(seen.values()) >= 10, seen
    assert absent > 100
    assert {32.0**2, 96.0**2, 32.0**2 - 1e-9, 96.0**2 + 1e-9} <= areas


@pytest.mark.parametrize(
    ("version", "backend"),
    [
        (None, "faster_coco_eval"),
        ("1.2.9", "faster_coco_eval"),
        ("1.3.0", "hotcoco"),
        ("1.12", "hotcoco"),
        ("2.0.0", "faster_coco_eval"),
    ],
)
def test_auto_is_hotcoco_where_a_known_version_is_installed(
    monkeypatch: pytest.MonkeyPatch, version: str | None, backend: str
) -> None:
    def installed(package: str) -> str:
        if version is None:
            raise importlib.metadata.PackageNotFoundError(package)
        return version

    monkeypatch.setattr(importlib.metadata, "version", installed)
    assert chosen_backend("auto") == backend
    if backend != "hotcoco":
        with pytest.raises(ImportError, match=r'hotcoco>=1.3,<2: pip install "mnv2dense\[hotcoco\]"'):
            chosen_backend("hotcoco")
