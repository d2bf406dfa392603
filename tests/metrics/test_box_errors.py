"""The causes of wrong boxes: by hand, and on random sets beside the definitions as loops over images and boxes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes, of_every
from mnv2dense.metrics.box_errors import BKG, BOTH, CAUSES, CLS, DUPE, LEFT_OUT, LOC, MISS, RIGHT, BoxErrors, box_errors
from mnv2dense.metrics.coco_backends import BACKENDS
from mnv2dense.ops.numpy_boxes import areas, iou, pairwise_intersection
from tests.helpers.box_columns import found_boxes, true_boxes
from tests.metrics.test_coco_backends import columns

CAT, DOG = 0, 1


def set_of(seed: int) -> tuple[FoundBoxes, TrueBoxes, int]:
    """A random set without boxes that are inside out: COCO's areas leave these out, and no model gives them."""
    found, truth, classes = columns(seed)
    whole = (found.boxes[:, 2:] >= found.boxes[:, :2]).all(axis=1)
    return found.where(np.asarray(whole)), truth, classes


class Slowly:
    """The paper's definitions, image after image and box after box."""

    def __init__(self, found: FoundBoxes, truth: TrueBoxes, classes: int) -> None:
        self.found, self.truth, self.classes = found, truth, classes
        self.causes, self.objects = [LEFT_OUT] * len(found.labels), [-1] * len(found.labels)
        self.taken: set[int] = set()
        self.mended: set[int] = set()
        for image in range(len(truth.image_ids)):
            self.look_at(image)
        self.missed = [
            thing
            for thing in np.flatnonzero(~truth.crowds).tolist()
            if thing not in self.taken and thing not in {self.objects[box] for box in self.mended}
        ]

    def look_at(self, image: int) -> None:
        found, truth = self.found, self.truth
        things = np.flatnonzero((truth.images == image) & ~truth.crowds).tolist()
        crowds = np.flatnonzero((truth.images == image) & truth.crowds).tolist()
        boxes = np.flatnonzero(found.images == image).tolist()
        boxes.sort(key=lambda box: -found.scores[box])
        overlap = {
            (box, thing): float(iou(found.boxes[box], truth.corners[thing])) for box in boxes for thing in things
        }
        seen = [0] * self.classes
        wrong = []
        for box in boxes:
            label = found.labels[box]
            seen[label] += 1
            if seen[label] > 100:
                continue
            free = [each for each in things if truth.labels[each] == label and each not in self.taken]
            best = max(free, key=lambda each: overlap[box, each], default=-1)
            if best >= 0 and overlap[box, best] >= 0.5:
                self.causes[box], self.objects[box] = RIGHT, best
                self.taken.add(best)
            elif not self.is_in_crowd(box, [each for each in crowds if truth.labels[each] == label]):
                wrong.append(box)
        for box in wrong:
            own = [each for each in things if truth.labels[each] == found.labels[box]]
            others = [each for each in things if truth.labels[each] != found.labels[box]]
            near = max(own, key=lambda each: overlap[box, each], default=-1)
            other = max(others, key=lambda each: overlap[box, each], default=-1)
            of_own, of_other = overlap.get((box, near), 0.0), overlap.get((box, other), 0.0)
            self.causes[box], self.objects[box] = BKG, -1
            if 0.1 <= of_own < 0.5:
                self.causes[box], self.objects[box] = LOC, near
            elif of_other >= 0.5:
                self.causes[box], self.objects[box] = CLS, other
            elif of_own >= 0.5:
                self.causes[box], self.objects[box] = DUPE, near
            elif of_other >= 0.1:
                self.causes[box], self.objects[box] = BOTH, other
        for thing in things:
            at_it = [box for box in wrong if self.objects[box] == thing and self.causes[box] in (LOC, CLS)]
            if at_it and thing not in self.taken:
                self.mended.add(at_it[0])  # the surest: they are in that order

    def is_in_crowd(self, box: int, crowds: list[int]) -> bool:
        box_, area = self.found.boxes[box : box + 1], float(areas(self.found.boxes[box]))
        shared = [float(pairwise_intersection(box_, self.truth.corners[each : each + 1])[0, 0]) for each in crowds]
        return any(each >= 0.5 * area and each > 0 for each in shared)

    def ap(self, cause: str = "") -> float:
        scores = []
        for label in range(self.classes):
            objects = np.flatnonzero((self.truth.labels == label) & ~self.truth.crowds).tolist()
            if not objects:
                continue
            fewer: set[int] = {"Miss": set(self.missed), "FN": set(objects) - self.taken}.get(cause, set())
            order = np.argsort(-self.found.scores, kind="stable").tolist()
            rows = [row for box in order if (row := self.row(box, cause))[0] == label]
            scores.append(self.average([hit for _, hit in rows], len(set(objects) - fewer)))
        return float(np.mean(scores)) if scores else 0.0

    def row(self, box: int, cause: str) -> tuple[int, bool]:
        """Class of a box, and whether it is right; -1 of one that is gone."""
        own, label = self.causes[box], int(self.found.labels[box])
        if own == LEFT_OUT or (cause == "FP" and own != RIGHT):
            return -1, False
        if own < 0 or CAUSES[own] != cause:
            return label, own == RIGHT
        if own in (LOC, CLS) and box in self.mended:
            return int(self.truth.labels[self.objects[box]]), True
        return -1, False

    def average(self, right: list[bool], objects: int) -> float:
        if not objects:
            return float(not right)
        hits = list(itertools.accumulate(right))
        precisions = [count / (place + 1) for place, count in enumerate(hits)]
        recalls = [count / objects for count in hits]
        best = [
            max((p for p, r in zip(precisions, recalls, strict=True) if r >= wanted), default=0.0)
            for wanted in np.linspace(0, 1, 101)
        ]
        return float(np.mean(best))


def test_all_images_at_once_are_as_one_after_the_other() -> None:
    counts = np.zeros(len(CAUSES), np.int64)
    for seed in range(100):
        found, truth, classes = set_of(seed)
        slow = Slowly(found, truth, classes)
        fast = box_errors(found, truth, classes)
        assert fast.causes.tolist() == slow.causes, seed
        assert fast.objects.tolist() == slow.objects, seed
        assert np.flatnonzero(fast.missed).tolist() == slow.missed, seed
        assert np.flatnonzero(fast.found).tolist() == sorted(slow.taken), seed
        assert fast.ap50 == pytest.approx(slow.ap(), abs=1e-12), seed
        for cause, cost in fast.cost.items():
            assert cost == pytest.approx(slow.ap(cause) - slow.ap(), abs=1e-12), (seed, cause)
        counts += np.bincount(fast.causes[fast.causes >= 0], minlength=len(CAUSES))
        counts[MISS] += fast.missed.sum()
    assert counts.min() > 50, dict(zip(CAUSES, counts, strict=True))


@pytest.mark.needs("hotcoco")
def test_the_average_precision_that_costs_are_taken_from_is_cocos() -> None:
    for seed in range(0, 300, 2):
        found, truth, classes = set_of(seed)
        precision = BACKENDS["hotcoco"](found, truth, classes).precision[0, :, :, 0, 2].mean(axis=0)
        expected = np.where(precision < 0, np.nan, precision)
        np.testing.assert_allclose(box_errors(found, truth, classes).ap, expected, rtol=0, atol=1e-12)


def test_of_the_boxes_from_a_score_on_it_is_as_if_there_were_no_others() -> None:
    for seed in range(60):
        found, truth, classes = set_of(seed)
        shown = found.scores >= 0.5
        some = box_errors(found, truth, classes).of_shown(shown, truth)
        alone = box_errors(found.where(shown), truth, classes)
        for name in ("causes", "objects", "found", "missed"):
            assert getattr(some, name).tolist() == getattr(alone, name).tolist(), (seed, name)


def causes(errors: BoxErrors) -> list[int]:
    return [int(each) for each in errors.causes]


def test_each_cause_by_hand() -> None:
    # Objects of 10 by 10 at x = 0 (cat), 100 (cat), 200 (dog), 300 (cat).
    truth = true_boxes([(x, 0, 10, 10, label, False) for x, label in ((0, CAT), (100, CAT), (200, DOG), (300, CAT))])
    found = found_boxes(
        [
            (0, 0, 10, 10, 0.9, CAT),
            (0, 0, 10, 9, 0.8, CAT),  # the first has it
            (100, 0, 110, 4, 0.7, CAT),  # IoU 0.4
            (200, 0, 210, 10, 0.6, CAT),  # it is a dog
            (200, 0, 210, 4, 0.5, CAT),
            (400, 0, 410, 10, 0.4, CAT),
        ]
    )
    errors = box_errors(found, truth, 2)
    assert causes(errors) == [RIGHT, DUPE, LOC, CLS, BOTH, BKG]
    assert errors.objects.tolist() == [0, 0, 1, 2, 2, -1]
    assert errors.missed.tolist() == [False, False, False, True]
    # Of three cats the first is found, of dogs none: recalls 0 .. 0.33 have precision 1, 34 of 101.
    assert errors.ap.tolist() == pytest.approx([34 / 101, 0])
    # Right, wrong, right: recalls up to 0.66 have 2/3 then. (34 + 33 * 2/3) / 101.
    assert errors.fixed["Loc"].tolist() == pytest.approx([56 / 101, 0])
    # The dog is found; for cats nothing changes, as what is wrong comes after what is right.
    assert errors.fixed["Cls"].tolist() == pytest.approx([34 / 101, 1])
    # One cat of two is found: recalls up to 0.5 have 1, 51 of 101.
    assert errors.fixed["Miss"].tolist() == pytest.approx([51 / 101, 0])
    assert errors.cost["Dupe"] == errors.cost["Bkg"] == errors.cost["FP"] == 0
    assert errors.fixed["FN"].tolist() == [1, 1]


def test_of_several_boxes_at_one_object_mending_makes_the_surest_right() -> None:
    truth = true_boxes([(0, 0, 10, 10, CAT, False)])
    found = found_boxes([(0, 0, 10, 3, 0.5, CAT), (0, 0, 10, 4, 0.6, CAT), (0, 0, 10, 10, 0.7, DOG)])
    errors = box_errors(found, truth, 2)
    assert causes(errors) == [LOC, LOC, CLS]
    assert errors.cost["Loc"] == 0  # the dog's box is the surest
    assert errors.cost["Cls"] == 1
    assert not errors.missed.any()


def test_a_class_of_which_nothing_is_seen_costs_all_as_missed() -> None:
    errors = box_errors(found_boxes([]), true_boxes([(0, 0, 10, 10, CAT, False)]), 1)
    assert errors.cost["Miss"] == 1
    assert errors.cost["FN"] == 1
    assert errors.ap50 == 0


def test_boxes_in_a_crowd_and_past_the_hundredth_are_no_errors() -> None:
    truth = true_boxes([(0, 0, 100, 100, CAT, True)], [(0, 0, 10, 10, CAT, False)])
    many = [(500, 0, 510, 10, 0.9, CAT)] * 100
    errors = box_errors(found_boxes([(10, 10, 20, 20, 0.9, CAT)], [*many, (0, 0, 10, 10, 0.1, CAT)]), truth, 1)
    assert causes(errors) == [LEFT_OUT, *[BKG] * 100, LEFT_OUT]
    assert errors.missed.tolist() == [False, True]


def test_of_nothing_there_is_nothing_to_say() -> None:
    errors = box_errors(found_boxes([]), true_boxes([]), 2)
    assert errors.ap50 == 0
    assert set(errors.cost.values()) == {0.0}


def test_every_so_many_images_are_as_a_set_of_those_alone() -> None:
    for seed in range(20):
        found, truth, _ = set_of(seed)
        some, of_some = of_every(2, found, truth)
        assert of_some.image_ids.tolist() == truth.image_ids[::2].tolist()
        for place in range(len(of_some.image_ids)):
            assert of_some.of_image(place).boxes.tolist() == truth.of_image(2 * place).boxes.tolist()
            assert some.scores[some.images == place].tolist() == found.scores[found.images == 2 * place].tolist()
        assert of_every(1, found, truth)[1].labels.tolist() == truth.labels.tolist()
