from __future__ import annotations

import numpy as np

from mnv2dense.doctor.facts import SplitFacts, facts_of_boxes, facts_of_classes
from mnv2dense.doctor.findings import findings_of
from mnv2dense.doctor.input_size import InputFit, SizeRow
from mnv2dense.doctor.suspect import Suspect
from tests.doctor.test_odd_boxes import NAMES, columns_of, looks_of


def facts(name: str, class_images: tuple[int, ...]) -> SplitFacts:
    looks = looks_of([(10, 10)] * 3)
    return facts_of_classes(name, looks, np.zeros(3, np.int64), 2)._replace(class_images=class_images)


def test_the_worst_comes_first_and_of_a_kind_the_surest() -> None:
    suspects = [
        Suspect("near duplicate", "a", 1, 0.97, "x"),
        Suspect("doubled box", "b", 2, 0.6, "x"),
        Suspect("doubled box", "c", 3, 0.9, "x"),
        Suspect("leak", "d", 4, 0.5, "x"),
        Suspect("somebody's own", "e", 5, 0.5, "x"),
    ]
    findings, ordered = findings_of(suspects, [], {}, NAMES, images=1500)
    assert [(each.kind, each.level, each.number) for each in findings] == [
        ("leak", "wrong", 1),
        ("doubled box", "look", 2),
        ("somebody's own", "look", 1),
        ("near duplicate", "note", 1),
    ]
    assert [each.image for each in ordered] == ["d", "c", "b", "e", "a"]
    assert findings[0].said == "1 validation image is a copy of a training image"
    assert findings[1].said == "2 boxes cover another of their class"


def test_classes_that_are_absent_rare_or_outnumbered_are_told() -> None:
    found, _ = findings_of([], [facts("train", (0, 2500)), facts("val", (3, 50))], {}, NAMES, images=6)
    assert [(each.kind, each.level) for each in found] == [("absent classes", "wrong"), ("rare classes", "note")]
    assert found[0].said == "1 of 2 classes is in no image of train: cat"
    assert found[1].said == "1 class is in fewer than 5 images of val: cat (3)"
    found, _ = findings_of([], [facts("train", (20, 2000))], {}, NAMES, images=3)
    assert [each.said for each in found] == ["dog is in 100 times as many training images as cat"]
    assert findings_of([], [facts("train", (21, 2000)), facts("val", (5, 9))], {}, NAMES, images=3)[0] == ()


def test_objects_too_small_for_the_input_are_told_with_a_size_that_shows_them() -> None:
    rows = (SizeRow((320, 320), 0.25, 0.4321, 1.0), SizeRow((640, 640), 0.03, 0.8, 4.0))
    (found,), _ = findings_of([], [], {"train": InputFit(16, rows, (640, 640))}, NAMES, images=3)
    assert found.said == (
        "25% of the objects are smaller than 16 pixels at an input of 320x320, one cell of the finest map; 43% of all "
        "could have an anchor of their own"
    )
    assert found.next_step.startswith("model.size=[640,640] leaves 3%, for 4.0 times the computation;")
    (found,), _ = findings_of([], [], {"train": InputFit(16, rows[:1], None)}, NAMES, images=3)
    assert found.next_step.startswith("Even 320x320 leaves 25%: ")
    few = InputFit(16, (rows[0]._replace(small=0.1),), None)
    assert findings_of([], [], {"train": few}, NAMES, images=3)[0] == ()


def test_facts_of_boxes_count_objects_and_images() -> None:
    looks = looks_of([(100, 200), (100, 200), (50, 50)])
    rows = [(0, 0, [0, 0, 200, 100.0]), (0, 0, [5, 5, 10, 20.0]), (1, 1, [5, 5, 10, 20.0]), (1, 1, [1, 1, 9, 9.0])]
    found = facts_of_boxes("train", looks, columns_of(rows, 3, crowds=(3,)), 2)
    assert (found.images, found.objects, found.ignored, found.without) == (3, 3, 1, 1)
    assert (found.class_images, found.class_counts) == ((1, 1), (2, 1))
    assert found.sizes == ((100, 200, 2), (50, 50, 1))
    assert found.whole == 1 / 3
