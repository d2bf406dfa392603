"""What objects are taken for: by hand, and on random sets beside loops over images and boxes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mnv2dense.metrics.box_columns import FoundBoxes, TrueBoxes
from mnv2dense.metrics.box_confusion import box_confusion
from mnv2dense.metrics.threshold_curves import threshold_curves
from mnv2dense.ops.numpy_boxes import areas, iou, pairwise_intersection
from tests.helpers.box_columns import found_boxes, true_boxes
from tests.metrics.test_coco_backends import columns

CAT, DOG = 0, 1


def slowly(found: FoundBoxes, truth: TrueBoxes, classes: int, threshold: float) -> npt.NDArray[np.int64]:
    """The table, image after image and box after box."""
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    for image in range(len(truth.image_ids)):
        free = np.flatnonzero((truth.images == image) & ~truth.crowds).tolist()
        crowds = np.flatnonzero((truth.images == image) & truth.crowds).tolist()
        boxes = np.flatnonzero((found.images == image) & (found.scores >= threshold - 1e-6)).tolist()
        boxes.sort(key=lambda box: -found.scores[box])
        for any_class in (False, True):
            left = []
            for box in boxes:
                label = found.labels[box]
                near = {
                    each: float(iou(found.boxes[box], truth.corners[each]))
                    for each in free
                    if any_class or truth.labels[each] == label
                }
                best = max(near, key=lambda each: near[each], default=-1)
                if best >= 0 and near[best] >= 0.5:
                    counts[truth.labels[best], label] += 1
                    free.remove(best)
                elif any_class or not any(
                    (shared := float(pairwise_intersection(found.boxes[[box]], truth.corners[[each]])[0, 0])) > 0
                    and shared >= 0.5 * float(areas(found.boxes[box]))
                    for each in crowds
                    if truth.labels[each] == label
                ):
                    left.append(box)
            boxes = left
        for thing in free:
            counts[truth.labels[thing], classes] += 1
        for box in boxes:
            counts[classes, found.labels[box]] += 1
    return counts


def test_all_images_at_once_are_as_one_after_the_other() -> None:
    total = 0
    for seed in range(100):
        found, truth, classes = columns(seed)
        random = np.random.default_rng(seed)
        mixed = random.permuted(found.labels)  # the sets have few boxes of a wrong class at an object
        found = found._replace(labels=np.where(random.random(len(mixed)) < 0.5, mixed, found.labels))
        for threshold in (0.0, 0.5):
            made = box_confusion(found, truth, classes, threshold=threshold)
            assert made.counts.tolist() == slowly(found, truth, classes, threshold).tolist(), seed
            assert made.objects.sum() == (~truth.crowds).sum() == made.counts[:-1].sum()
            assert made.right.sum() == np.trace(made.counts)
            assert made.mistaken.sum() == made.counts[:-1, :-1].sum() - np.trace(made.counts)
            assert made.false.sum() == made.counts[-1].sum()
            total += int(made.mistaken.sum())
    assert total >= 40


def test_the_diagonal_is_what_f1_at_that_threshold_calls_right() -> None:
    checked = 0
    for seed in range(60):
        found, truth, classes = columns(seed)
        best = threshold_curves(found, truth, classes).best()
        if best is None:
            continue
        counts = box_confusion(found, truth, classes, threshold=best.threshold).counts
        right, there = np.diag(counts)[:-1], counts[:-1].sum(axis=1)
        f1 = 2 * right / (counts[:, :-1].sum(axis=0) + there).clip(1)
        assert np.isclose(f1[there > 0].mean(), best.f1)
        checked += 1
    assert checked > 30


def test_a_box_of_the_right_class_goes_before_a_surer_one_of_another() -> None:
    truth = true_boxes([(0, 0, 10, 10, CAT, False)])
    found = found_boxes([(0, 0, 10, 10, 0.9, DOG), (0, 0, 10, 8, 0.5, CAT)])
    assert box_confusion(found, truth, 2, threshold=0.4).counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert box_confusion(found, truth, 2, threshold=0.6).counts.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_sizes_are_the_objects_own_and_the_false_boxes_own() -> None:
    truth = true_boxes(
        [
            (0, 0, 31, 32, CAT, False),
            (100, 0, 32, 32, CAT, False),
            (300, 0, 96, 96, DOG, False),
            (0, 0, 9, 9, CAT, True),
        ]
    )
    found = found_boxes([(300, 0, 396, 96, 0.9, CAT), (100, 0, 132, 32, 0.9, CAT), (600, 0, 700, 100, 0.9, DOG)])
    made = box_confusion(found, truth, 2, threshold=0.5)
    assert made.objects.tolist() == [1, 1, 1]
    assert made.right.tolist() == [0, 1, 0]
    assert made.mistaken.tolist() == [0, 0, 1]
    assert made.false.tolist() == [0, 0, 1]


def test_a_box_counts_where_it_would_be_shown() -> None:
    # 0.5 less half a millionth is below 0.5 in float32, too; 0.7 of float32 is below the 0.7 of Python.
    truth = true_boxes([(0, 0, 10, 10, CAT, False)])
    for score, threshold, right in ((0.5 - 5e-7, 0.5, 0), (0.7, 0.7, 1)):
        found = found_boxes([(0, 0, 10, 10, score, CAT)])
        assert box_confusion(found, truth, 2, threshold=threshold).right.sum() == right
        assert threshold_curves(found, truth, 2).at(threshold)["recall"] == right
